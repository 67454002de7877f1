"""The rules of the house, so that nobody has to remember them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("gateway", "tests", "bench") for file in (ROOT / folder).rglob("*.py"))
TESTS = [file for file in FILES if file.name.startswith("test_") and file.is_relative_to(ROOT / "tests")]

LONG = 400
TOO_LONG = 600
REASONS: dict[str, str] = {
    "gateway/reasons.py": "one table, one entry per reason code",
    "gateway/simulator/world.py": "one world: who is in it, what they may see, what they book",
    "gateway/sources/ews/exchangelib_transport.py": "everything that touches exchangelib, behind one door",
    "gateway/sources/calendar.py": "one scheduler, written once for every calendar server",
}
"""Files beyond 400 lines, and why they are one thing all the same. Test files need no reason up to 600."""

UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
PARSERS = {"gateway/sources/xml.py"}
"""Where XML is parsed: the limits against hostile answers are there."""


def name(file: Path) -> str:
    """Path within the repository."""
    return file.relative_to(ROOT).as_posix()


def imported(file: Path) -> set[str]:
    """Dotted names of what a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_files_are_short() -> None:
    """600 lines at most; a file of the package beyond 400 has its reason written here."""
    lengths = {name(file): len(file.read_text().splitlines()) for file in FILES}
    assert [file for file, lines in lengths.items() if lines > TOO_LONG] == []
    long = {file for file, lines in lengths.items() if lines > LONG and file.startswith("gateway/")}
    assert long <= set(REASONS)


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a remark in the code."""
    kinds = ("*.py", "*.md", "*.toml", "*.js", "*.html", "*.css", "*.service")
    places = [file for folder in ("gateway", "tests", "docs", "deploy", "config") for kind in kinds
              for file in (ROOT / folder).rglob(kind)]  # fmt: skip
    assert [name(file) for file in places if UNFINISHED.search(file.read_text())] == []


@pytest.mark.parametrize("file", TESTS, ids=name)
def test_every_test_says_what_it_promises(file: Path) -> None:
    """A docstring of its own: the promise, not the procedure."""
    tests = [
        node
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not ast.get_docstring(test)] == []


def test_xml_is_parsed_in_one_place() -> None:
    """lxml.etree is imported by the guarded parser only (the simulator has a parser of its own, on purpose)."""
    users = {name(file) for file in FILES if file.is_relative_to(ROOT / "gateway") and "lxml.etree" in imported(file)}
    assert {user for user in users if not user.startswith("gateway/simulator/")} == PARSERS


def test_nobody_uses_a_mock_library() -> None:
    """A fake is a class somebody wrote and tested."""
    assert [name(file) for file in FILES if {"unittest.mock", "mock"} & imported(file)] == []
