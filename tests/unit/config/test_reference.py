"""The reference and the examples are true."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import trustme

from gateway import config
from gateway.config.models import Config, leaves
from gateway.config.reference import as_markdown, as_toml
from gateway.loading import load_all

ROOT = Path(__file__).parents[3]


def test_the_reference_loads(tmp_path: Path) -> None:
    """Its TOML is a valid file that holds the defaults."""
    (tmp_path / "gateway.toml").write_text(as_toml())
    found = config.load(tmp_path / "gateway.toml", check_files=False, environ={})
    plain = Config.model_validate({})
    assert (found.presence, found.limits, found.log) == (plain.presence, plain.limits, plain.log)
    assert found.server.listen == plain.server.listen


def test_the_commented_lines_of_the_reference_load_too(tmp_path: Path) -> None:
    """Optional keys are shown with a value that is accepted."""
    optional = re.sub(r"(?m)^# (\w+ = )", r"\1", as_toml()).replace('password = "${EWS_PASSWORD}"', "")
    (tmp_path / "gateway.toml").write_text(optional)
    found = config.load(tmp_path / "gateway.toml", check_files=False, environ={})
    unset = [path for path, value in leaves(found) if value is None]
    assert unset == [("calendars", "hq", "password")]


def test_the_configuration_page_is_the_generated_one() -> None:
    """docs/configuration.md is what `config reference --markdown` prints now."""
    assert (ROOT / "docs" / "configuration.md").read_text() == as_markdown()


def test_every_table_row_has_three_cells() -> None:
    """No text breaks the table it stands in."""
    rows = [line for line in as_markdown().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def test_the_examples_load_without_a_warning(tmp_path: Path) -> None:
    """config/ holds a deployment that works once its secrets are put beside it."""
    for name in ("gateway.toml", "people.toml", "tokens.toml"):
        shutil.copy(ROOT / "config" / name, tmp_path)
    (tmp_path / "ews-password").write_text("secret")
    (tmp_path / "ews-password").chmod(0o600)
    trustme.CA().cert_pem.write_to_path(tmp_path / "corp-ca.pem")
    settings = load_all(tmp_path / "gateway.toml", now=lambda: datetime(2026, 11, 20, tzinfo=UTC), environ={})
    assert settings.warnings == ()
    assert [person.id for person in settings.people.everybody()] == [
        "ann@example.com",
        "ben@example.com",
        "carla@example.com",
    ]
    assert len(settings.tokens) == 3
