"""The real command as a process of its own: its output, its log, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from tests.story.waiting import until

CLOCK = SystemClock()
START = 20.0
"""Seconds within which a process must have said that it is ready, on a machine that does other things as well."""


class Process:
    """A running `presence-gateway`. `out` and `err` are the lines so far; `log` is what of `err` is JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self._process = process
        self._readers = [
            asyncio.create_task(_read(stream, lines), name="output")
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
        ]

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the operator's log."""
        return [json.loads(line) for line in self.err if line.startswith("{")]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def says(self, event: str, *, times: int = 1, within: float = START) -> dict[str, Any]:
        """Wait for a log line of that event, the n-th; gives its fields."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.log if line["event"] == event]

        with contextlib.suppress(AssertionError):
            await until(lambda: self._process.returncode is not None or len(found()) >= times, CLOCK, within=within)
        assert len(found()) >= times, f"no {event} but {self.err[-5:]}"
        return found()[times - 1]

    async def prints(self, text: str, *, within: float = START) -> str:
        """Wait for a line of output that begins so; gives it."""

        def found() -> list[str]:
            return [line for line in self.out if line.startswith(text)]

        with contextlib.suppress(AssertionError):
            await until(lambda: self._process.returncode is not None or bool(found()), CLOCK, within=within)
        assert found(), f"nothing begins with {text!r} in {self.out[-5:]}, {self.err[-5:]}"
        return found()[0]

    def sends(self, number: signal.Signals) -> None:
        """Send a signal to this one process."""
        self._process.send_signal(number)

    async def ends(self, *, within: float = 10.0) -> int:
        """Wait for its end; gives the exit code (negative: the signal that killed it)."""
        async with asyncio.timeout(within):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def kill(self) -> None:
        """kill -9."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ends()


async def _read(stream: asyncio.StreamReader | None, lines: list[str]) -> None:
    assert stream is not None
    while line := await stream.readline():
        lines.append(line.decode().rstrip("\n"))


def surroundings(**more: str) -> Mapping[str, str]:
    """The environment of a process: nothing that would point it to another gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRESENCE_GATEWAY_")}
    return kept | more


async def spawn(*arguments: str | Path, instead: Sequence[str] = ("-m", "gateway"), **environment: str) -> Process:
    """Start `presence-gateway` with these arguments; `instead` is what Python runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *instead,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env=surroundings(**environment),
        limit=1 << 20,
    )
    return Process(process)


@asynccontextmanager
async def running(
    *arguments: str | Path, instead: Sequence[str] = ("-m", "gateway"), **environment: str
) -> AsyncIterator[Process]:
    """The same, killed at the end unless it has ended."""
    process = await spawn(*arguments, instead=instead, **environment)
    try:
        yield process
    finally:
        await process.kill()


async def serving(process: Process) -> str:
    """Wait until the daemon listens; gives its URL."""
    return str((await process.says("app.gateway.started"))["url"])


async def completed(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end; gives exit code, output and errors."""
    async with running(*arguments, **environment) as process:
        code = await process.ends(within=30)
        return code, "\n".join(process.out), "\n".join(process.err)
