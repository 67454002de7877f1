"""The command line: its commands, exit codes, and how little it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from gateway.cli import COMMANDS, main
from gateway.errors import ConfigError, GatewayError

HEAVY = {"aiohttp", "exchangelib", "lxml", "pydantic", "structlog", "cryptography", "prometheus_client", "uvloop"}
CLIENTS = (["--help"], ["--version"], ["token", "create"], ["why", "--help"], ["watch", "--help"], ["demo", "--help"])


@pytest.mark.parametrize("arguments", CLIENTS, ids=" ".join)
def test_client_commands_load_nothing_heavy(arguments: list[str]) -> None:
    """They start at once because they import the standard library alone."""
    code = (
        "import sys\nfrom gateway.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit codes."""
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert all(name in text for name in COMMANDS)
    assert "exit codes: 0 done" in text


def test_every_command_module_fits() -> None:
    """Each has its arguments and its run."""
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0


@pytest.mark.parametrize("arguments", [[], ["dance"], ["serve", "--nonsense"], ["token"], ["demo", "--port", "99999"]])
def test_a_wrong_command_line_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a word on standard error."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    """python -m gateway does the same."""
    done = subprocess.run([sys.executable, "-m", "gateway", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"presence-gateway {__version__}\n"


def _command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    from gateway.cli import token

    def run(_: object) -> int:
        raise error

    monkeypatch.setattr(token, "run", run)


def test_problems_come_one_per_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A ConfigError is its lines and exit 2, no traceback."""
    _command_that_raises(monkeypatch, ConfigError(["a: one; do x", "b: two; do y"]))
    assert main(["token", "create"]) == 2
    assert capsys.readouterr().err == "a: one; do x\nb: two; do y\n"


def test_failures_name_code_and_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Any other error of ours is one line and exit 1."""
    _command_that_raises(monkeypatch, GatewayError("it failed", code="net.refused", hint="do x"))
    assert main(["token", "create"]) == 1
    assert capsys.readouterr().err == "presence-gateway: it failed [net.refused]; do x\n"


def test_an_interruption_is_exit_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells expect."""
    _command_that_raises(monkeypatch, KeyboardInterrupt())
    assert main(["token", "create"]) == 130


def test_token_create_prints_what_tokens_toml_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """The token once on the first line, then the entry with its hash."""
    assert main(["token", "create", "--name", "wall", "--scope", "watch", "--group", "sales"]) == 0
    text = capsys.readouterr().out
    token = text.splitlines()[0]
    assert token.startswith("pgw_")
    assert text.count(token) == 1
    assert '[[token]]\nname = "wall"\n' in text
    assert 'groups = ["sales"]' in text


def test_token_create_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts."""
    assert main(["token", "create", "--json", "--expires", "2027-01-01"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {"token", "entry"}
    assert "expires = 2027-01-01" in made["entry"]


def _write(folder: Path, **files: str) -> Path:
    for name, text in {"gateway": "", "people": "", "tokens": "", **files}.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / "gateway.toml"


def test_config_check_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Valid: exit 0 and a summary."""
    path = _write(tmp_path, people='[[person]]\nid = "ann"')
    assert main(["config", "check", "--config", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is valid: 1 people, 0 calendars, 0 tokens\n"


def test_config_check_tells_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid: exit 2 and one line per problem, of all files."""
    path = _write(tmp_path, gateway="[serve]", people="[[persn]]", tokens="[[token]]")
    assert main(["config", "check", "--config", str(path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in errors] == ["gateway.toml", "people.toml", *["tokens.toml"] * 3]


def test_config_check_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts, with the same exit codes."""
    path = _write(tmp_path, gateway="[serve]")
    assert main(["config", "check", "--json", "--config", str(path)]) == 2
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["valid"] is False
    assert len(answer["problems"]) == 1
    assert answer["warnings"] == []


def test_config_reference_prints_toml_and_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    """The two forms of one reference."""
    assert main(["config", "reference"]) == 0
    assert "\n[calendars.hq]\n" in capsys.readouterr().out
    assert main(["config", "reference", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("# Configuration\n")
