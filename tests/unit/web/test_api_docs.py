"""The page for users says what the server does."""

import re
from pathlib import Path

import pytest

from gateway.web.app import all_routes
from gateway.web.problems import TABLE
from tests.integration.api_world import CONFIGURED, World

DOCS = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")


@pytest.mark.parametrize("code", TABLE)
def test_every_code_has_its_line(code: str) -> None:
    """Code and status stand in one row of the table."""
    assert f"| `{code}` | {TABLE[code].status} |" in DOCS


def test_no_code_is_invented() -> None:
    """Every row of the table of failures is a code of the server."""
    assert set(re.findall(r"^\| `(\w+\.\w+)` \| \d{3} \|", DOCS, re.MULTILINE)) == set(TABLE)


async def test_every_route_and_preference_is_named() -> None:
    """Paths with their methods, and the names of all preferences."""
    for route in all_routes(World().services):
        assert re.search(rf"`[^`]*{re.escape(route.path)}[`?]", DOCS), route.path
        assert route.method in DOCS
    for name in CONFIGURED:
        assert f"`{name}`" in DOCS
