"""What a test must not leave behind: tasks on its event loop, threads in the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable

GRACE = 1.0
"""Real seconds in which what is ending may end."""
PROCESS_WIDE = ("xml_",)
"""Names of threads that serve the whole process and are begun when first needed."""


async def tasks_left() -> list[str]:
    """The tasks that still run beside this one, after a moment of grace."""
    mine = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() if task is not mine}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE)
    return sorted(f"task {task.get_name()}: {task.get_coro()}" for task in left)


def threads_left(before: Iterable[threading.Thread]) -> list[str]:
    """The threads begun since then that keep the process alive, after a moment of grace."""
    deadline = time.monotonic() + GRACE
    known = set(before)
    left = []
    for thread in threading.enumerate():
        if thread not in known and not thread.daemon and not thread.name.startswith(PROCESS_WIDE):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                left.append(f"thread {thread.name}")
    return left
