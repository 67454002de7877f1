"""The list of log events in the docs is the one in the code."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logs.md"
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
LOGGERS = {"log", "_log", "logger", "_logger"}
EVENT = re.compile(r"[a-z]+\.[a-z_]+\.[a-z_]+")
NO_EVENTS = {"exchangelib.util.xml"}
"""Other dotted names of three parts, beside our own modules."""


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Everything that may log: all but the simulator and the command line."""
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        if file.relative_to(ROOT / "gateway").parts[0] not in ("simulator", "cli"):
            yield file, ast.parse(file.read_text())


def literals(tree: ast.Module) -> set[str]:
    """Texts that have the form of an event name."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if EVENT.fullmatch(text) and not text.startswith("gateway.")} - NO_EVENTS


def _is_logger(node: ast.expr) -> bool:
    named = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return named in LOGGERS


def test_the_docs_list_the_events_of_the_code_and_no_other() -> None:
    """A new event needs a line in docs/logs.md; one that is gone loses it."""
    documented = re.findall(r"(?m)^\| `([a-z._]+)` \| \w+ \| [A-Z]", PAGE.read_text())
    found = {event for _, tree in modules() for event in literals(tree)}
    assert found == set(documented)
    assert [event for event, times in Counter(documented).items() if times > 1] == []


def test_every_event_has_a_constant_name_of_three_parts() -> None:
    """area.object.participle, never put together at run time."""
    wrong = []
    for file, tree in modules():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr not in METHODS or not _is_logger(node.func.value):
                continue
            name = node.args[0]
            if not (isinstance(name, ast.Constant) and EVENT.fullmatch(str(name.value))):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def test_the_list_is_sorted() -> None:
    """So that a line is found."""
    documented = re.findall(r"(?m)^\| `([a-z._]+)` \|", PAGE.read_text())
    areas = [event.split(".")[0] for event in documented]
    assert areas == sorted(areas)
