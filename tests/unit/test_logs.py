"""Log lines: their shape, their bounds, and how repeats are counted."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.logs import LINE, configure, cut
from gateway.redaction import Redactor


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is global: put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    """Where the lines go."""
    stream = io.StringIO()
    configure(stream=stream, redactor=Redactor(["hunter2"]))
    return stream


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    """What was logged so far."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(out: io.StringIO) -> None:
    """With its time in UTC, its level and its fields."""
    structlog.get_logger().warning("test.thing.happened", source="hq", took_ms=12, code="net.reset")
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "test.thing.happened",
        "level": "warning",
        "source": "hq",
        "took_ms": 12,
        "code": "net.reset",
    }


def test_levels_below_the_configured_one_are_silent(out: io.StringIO) -> None:
    """info is the default; debug is not heard."""
    structlog.get_logger().debug("test.thing.happened")
    assert lines(out) == []


def test_other_libraries_speak_json_too(out: io.StringIO) -> None:
    """From warning upwards, redacted, their text in a field, their traceback included."""
    logging.getLogger("exchangelib").info("wire %s", "x")
    try:
        raise ValueError("with hunter2")
    except ValueError:
        logging.getLogger("asyncio").exception("Task failed for %s", "hunter2")
    (line,) = lines(out)
    assert line["event"] == "log.foreign.reported"
    assert (line["library"], line["message"], line["level"]) == ("asyncio", "Task failed for ***", "error")
    assert "ValueError: with ***" in line["exception"]
    assert "hunter2" not in out.getvalue()


def test_even_debug_does_not_let_libraries_write_messages(out: io.StringIO) -> None:
    """exchangelib logs whole answers at debug, meetings included."""
    configure(stream=out, level="debug")
    logging.getLogger("exchangelib.services").debug("subject: budget")
    logging.getLogger("exchangelib.util.xml").error("<Subject>budget</Subject>")
    structlog.get_logger().debug("test.thing.happened")
    assert [line["event"] for line in lines(out)] == ["test.thing.happened"]


def test_a_line_stays_within_its_bound(out: io.StringIO) -> None:
    """Whatever its fields hold; it is still JSON and still says what and why."""
    structlog.get_logger().error(
        "test.thing.happened",
        code="internal.error",
        detail="ä" * 5000,
        many=[f"item {n}" for n in range(5000)],
        **{f"field{n}": "x" * 5000 for n in range(50)},
    )
    text = out.getvalue()
    assert len(text.encode()) <= LINE + 1
    line = json.loads(text)
    assert (line["event"], line["code"], line["truncated"]) == ("test.thing.happened", "internal.error", True)


def test_a_detail_is_cut_with_a_mark(out: io.StringIO) -> None:
    """What others said is worth half a kilobyte; the mark tells how much is missing."""
    structlog.get_logger().error("test.thing.happened", detail="x" * 2000)
    detail = lines(out)[0]["detail"]
    assert len(detail.encode()) <= 512
    assert "bytes cut]" in detail


@pytest.mark.parametrize("keep_end", [True, False])
def test_cutting_never_breaks_a_character(keep_end: bool) -> None:
    """The result is valid UTF-8 within the limit, for every length."""
    for size in range(90, 130):
        assert len(cut("€" * size, 100, keep_end=keep_end).encode()) <= 100 or size * 3 <= 100


def test_a_terminal_gets_readable_lines() -> None:
    """console: no JSON, no colour unless it is a terminal."""
    out = io.StringIO()
    configure(stream=out, form="console", redactor=Redactor(["hunter2"]))
    structlog.get_logger().info("test.thing.happened", source="hq", detail="hunter2")
    assert "test.thing.happened" in out.getvalue()
    assert "source=hq" in out.getvalue()
    assert "hunter2" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


class Seconds:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
