"""Who may import whom. If this fails, the picture in docs/architecture.md is no longer true."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gateway"

BOTTOM = {"core", "errors", "clock", "reasons"}
ALLOWED = {
    "core": {"core"},
    "errors": set[str](),
    "reasons": set[str](),
    "clock": set[str](),
    "redaction": set[str](),
    "systemd": set[str](),
    "toml": {"errors"},
    "sources": {"sources", *BOTTOM},
    "stores": {"stores", *BOTTOM},
    "web": {"web", *BOTTOM},
    "simulator": {"simulator"},
    "config": {"config", "core", "errors", "toml", "web.ports"},
    "people": {"core", "errors", "toml"},
    "tokens": {"core", "errors", "toml", "web.ports"},
    "loading": {"config", "people", "tokens", "errors"},
    "logs": {"redaction"},
    "metrics": set[str](),
}
"""Part of the package → the parts it may import. What is not here is the wiring, which may know everybody but `cli`."""

WIRING = {
    "app",
    "calendars",
    "demo",
    "guard",
    "ingest",
    "metered",
    "operations",
    "reading",
    "records",
    "view",
}
FRONT = {"cli", "__main__", "__init__"}

PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "operator",
    "types",
    "typing",
}
"""What of the standard library the core may use: no clock, no loop, no I/O, no logging, no chance."""


def part(module: str) -> str:
    """`gateway.web.ports` → `web.ports`, `gateway.web.hub` → `web`: the name the table knows."""
    names = module.split(".")[1:]
    if not names:
        return "__init__"
    return "web.ports" if names[:2] == ["web", "ports"] else names[0]


def files() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The module's dotted name."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[str]:
    """Dotted names of everything a module imports, inside functions as well."""
    package = name_of(file) if file.name == "__init__.py" else name_of(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            if base == "gateway":
                modules = {alias.name for alias in node.names if is_module(alias.name)}
                yield from (f"gateway.{name}" for name in modules)
                if len(modules) < len(node.names):
                    yield "gateway"
            else:
                yield base


def is_module(name: str) -> bool:
    """Whether gateway.NAME is a module and not something its __init__ defines."""
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name / "__init__.py").exists()


@pytest.mark.parametrize("file", files(), ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    """Adapters know the core, never each other; only the wiring knows everybody; nobody knows the command line."""
    own = part(name_of(file)).partition(".")[0]
    used = {part(module) for module in imports(file) if module.partition(".")[0] == "gateway"}
    used -= {"__init__"}  # the version
    if own in ALLOWED:
        wide = {"web.ports"} if "web" in ALLOWED[own] else set()
        assert used <= ALLOWED[own] | wide
    elif own not in FRONT:
        assert own in WIRING, "a new part of the package needs a place in this test"
        assert "cli" not in used


@pytest.mark.parametrize("file", [*sorted((PACKAGE / "core").rglob("*.py")), PACKAGE / "errors.py"], ids=name_of)
def test_the_core_is_pure(file: Path) -> None:
    """Only the harmless part of the standard library: time is an argument, and nothing is read, written or logged."""
    outside = {module.partition(".")[0] for module in imports(file)} - {"gateway"}
    assert outside <= PURE
    assert outside <= sys.stdlib_module_names


def test_every_place_in_the_tables_is_taken() -> None:
    """No line of this test outlives what it speaks of."""
    there = {part(name_of(file)).partition(".")[0] for file in files()}
    assert there == set(ALLOWED) | WIRING | FRONT
