"""The problem table, and that every error of the gateway has its place in it."""

import json
import re

import pytest

from gateway.errors import (
    ConfigError,
    GatewayError,
    LeaseLost,
    PublicationRefused,
    SourceUnavailable,
    StoreConflict,
    StoreUnavailable,
)
from gateway.web.problems import MEDIA, TABLE, Problem, from_error, render


@pytest.mark.parametrize("code", TABLE)
def test_every_problem_has_the_one_shape(code: str) -> None:
    """RFC 9457 members, a code, the request's id, and the faults if there are any."""
    response = render(Problem(code, errors=[{"pointer": "/x", "detail": "wrong"}]), "request-1")
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", code)
    assert response.status == body["status"] == TABLE[code].status
    assert response.headers["Content-Type"] == MEDIA
    assert response.headers["Cache-Control"] == "no-store"
    assert body["instance"] == "request-1"
    assert body["title"] == body["detail"] == TABLE[code].title
    assert body["errors"] == [{"pointer": "/x", "detail": "wrong"}]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PublicationRefused("late", code="publication.outdated"), 409),
        (StoreUnavailable("full", code="store.disk_full"), 507),
        (StoreUnavailable("closed", code="store.closed"), 503),
        (StoreConflict("key", 7), 503),
        (LeaseLost("gone", code="store.lease_lost"), 503),
        (SourceUnavailable("down", code="net.refused"), None),
        (ConfigError(["wrong"]), None),
    ],
)
def test_errors_on_purpose_have_a_status_and_others_are_bugs(error: GatewayError, status: int | None) -> None:
    """What the writing side raises becomes a problem with its code; the rest must not reach the web."""
    problem = from_error(error)
    assert (None if problem is None else problem.kind.status) == status
    if problem is not None:
        assert problem.code == error.code
