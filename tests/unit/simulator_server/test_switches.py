"""Switches by name: what is set, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.simulator import EwsOptions
from gateway.simulator.switches import set_switches


def test_switches_are_set_where_they_belong() -> None:
    """At the top, and one level down."""
    options = EwsOptions()
    wanted = {"heartbeat": "status", "lifetime_s": 300, "streams_per_mailbox": None, "glued": True}
    set_switches(options, {"times": "utc", "headers": {"X": "y"}, "streams": wanted})
    assert (options.times, options.headers) == ("utc", {"X": "y"})
    streams = options.streams
    assert (streams.heartbeat, streams.lifetime_s, streams.streams_per_mailbox) == ("status", 300, None)
    assert streams.glued is True


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"colour": 1}, "no switch 'colour'"),
        ({"times": "lunar"}, "it takes 'naive' or 'utc' or 'offset'"),
        ({"digits": 1}, "it takes bool"),
        ({"streams": 1}, "takes an object"),
        ({"streams": {"saves": True}}, "it takes int"),
        ({"streams": {"saves": -1}}, "it takes int"),
        ({"streams": {"heartbeat_s": "1"}}, "it takes float"),
        ({"streams": {"streams_per_mailbox": "1"}}, "it takes int or null"),
    ],
)
def test_a_wrong_switch_is_named_and_nothing_is_set(wanted: dict[str, Any], complaint: str) -> None:
    """One sentence, and the good ones beside it stay as they were."""
    options = EwsOptions()
    with pytest.raises(ValueError, match=complaint):
        set_switches(options, {"back_off_ms": 7, **wanted})
    assert options == EwsOptions()
