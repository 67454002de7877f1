"""The three files together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.loading import load_all


def now() -> datetime:
    """An instant."""
    return datetime(2026, 11, 20, tzinfo=UTC)


def test_problems_of_all_three_files_come_in_one_run(tmp_path: Path) -> None:
    """A faulty gateway.toml does not hide what is wrong with people and tokens."""
    (tmp_path / "gateway.toml").write_text('[log]\nlevel = "loud"\n[people]\nfile = "staff.toml"\n[calendars.hq]\n')
    (tmp_path / "staff.toml").write_text('[[person]]\nid = "ann@example.com"\ncalendar = "hx"')
    (tmp_path / "tokens.toml").write_text('[[token]]\nname = "x"')
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path / "gateway.toml", now=now, environ={})
    starts = {problem.split(": ")[0] for problem in caught.value.problems}
    assert starts == {"gateway.toml", "staff.toml", "tokens.toml"}
    assert any("configured: hq" in problem for problem in caught.value.problems)


def test_a_missing_file_is_told_once(tmp_path: Path) -> None:
    """gateway.toml names it, so the problem is there and not twice."""
    (tmp_path / "gateway.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path / "gateway.toml", now=now, environ={})
    assert [problem.split(": ")[1] for problem in caught.value.problems] == ["people.file", "tokens.file"]


def test_a_file_that_is_no_toml_is_one_problem(tmp_path: Path) -> None:
    """The other two are judged all the same."""
    (tmp_path / "gateway.toml").write_text("listen = ")
    (tmp_path / "people.toml").write_text("")
    (tmp_path / "tokens.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path / "gateway.toml", now=now, environ={})
    assert len(caught.value.problems) == 1
