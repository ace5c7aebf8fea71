"""Cancels tasks for certain.

A cancellation can be swallowed on its way: on Python 3.11 `asyncio.wait_for`, which redis-py calls
for every command, forgets one that comes in the moment in which what it waits for ends.
"""

import asyncio
from collections.abc import Iterable

AGAIN_SECONDS = 0.1


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels these tasks, again and again, and returns once they have ended, however they did."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)


def raise_if_cancelled() -> None:
    """Raises CancelledError in a task whose cancellation was swallowed; for loops that go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
