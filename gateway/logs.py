"""Structured logs: one event, one line, no secret in it.

JSON lines, or coloured ones on a terminal. Event names are constant, `area.object.participle` (all of them:
docs/logs.md); what varies is in fields. Records of other libraries arrive by the standard logging module as
`log.foreign.reported`. Every text goes through a `Redactor` just before it is rendered, whoever wrote it.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.redaction import Redactor

LINE: Final = 8 * 1024
"""Bytes of one line at most."""
TEXT: Final = 2 * 1024
"""Bytes of one field at most."""
DETAIL: Final = 512
"""Bytes of the field `detail` at most: it repeats what somebody else said."""
TRACE: Final = 5 * 1024
"""Bytes of a traceback at most; its end is kept."""

_COMMON: Final = ("event", "level", "timestamp", "code", "source", "person", "mailbox")
_QUIET: Final = ("aiohttp.access", "exchangelib.util.xml")  # per request; whole answers with their content
_FOREIGN: Final = "log.foreign.reported"


def configure(
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
) -> Redactor:
    """Send every log to `stream` (standard error); returns the redactor, which learns new secrets at a reload.

    `level`: debug, info, warning or error. Other libraries speak from warning upwards only: below that exchangelib
    and friends write whole messages.
    """
    out = stream if stream is not None else sys.stderr
    redactor = redactor or Redactor()
    terminal = form == "console" or (form == "auto" and out.isatty())
    finish: list[Processor] = [
        structlog.processors.format_exc_info,
        _Clean(redactor),
        _Console(colors=out.isatty()) if terminal else _Json(),
    ]
    stamp: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*stamp, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*stamp, _foreign],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    return redactor


def _foreign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A record of another library: its free text becomes a field."""
    record: logging.LogRecord | None = event.get("_record")
    return {**event, "event": _FOREIGN, "library": record.name if record else "", "message": event.get("event", "")}


@dataclass(frozen=True, slots=True)
class _Clean:
    """Redacts and bounds every field."""

    redactor: Redactor

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        cleaned = self.redactor.fields(event)
        return {name: _bounded(name, value) for name, value in cleaned.items()}


def _bounded(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name == "exception":
        return cut(value, TRACE, keep_end=True)
    return cut(value, DETAIL if name == "detail" else TEXT)


def cut(text: str, limit: int, *, keep_end: bool = False) -> str:
    """The text in at most `limit` bytes of UTF-8, with a mark that says how much is missing."""
    size = len(text.encode("utf-8", "replace"))
    if size <= limit:
        return text
    mark = f"…[{size - limit + 24} bytes cut]"
    kept = text.encode("utf-8", "replace")
    room = limit - len(mark.encode())
    if keep_end:
        return mark + kept[-room:].decode("utf-8", "ignore")
    return kept[:room].decode("utf-8", "ignore") + mark


class _Json:
    """One line of JSON of at most `LINE` bytes, still JSON when it had to be shortened."""

    def __init__(self) -> None:
        self._render = structlog.processors.JSONRenderer(sort_keys=False)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        ordered = {key: event[key] for key in ("timestamp", "level", "event") if key in event} | dict(event)
        line = str(self._render(logger, name, ordered))
        if len(line) <= LINE:  # ASCII: JSON escapes everything else
            return line
        short = {key: _shorter(value) for key, value in ordered.items()} | {"truncated": True}
        line = str(self._render(logger, name, short))
        if len(line) <= LINE:
            return line
        kept: dict[str, Any] = {key: short[key] for key in _COMMON if key in short}
        return str(self._render(logger, name, {**kept, "truncated": True}))


def _shorter(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, 200)
    return value if isinstance(value, int | float | bool) or value is None else cut(str(value), 200)


class _Console:
    """A line for eyes (with the traceback below it, if any)."""

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        return cut(str(self._render(logger, name, event)), LINE)
