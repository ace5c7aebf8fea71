"""Cancels tasks for certain.

A cancellation can be swallowed on its way: on Python 3.11 `asyncio.wait_for`, which redis-py calls
for every command, forgets one that comes in the moment in which what it waits for ends.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import anyio

AGAIN_SECONDS = 0.1


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels these tasks, again and again, and returns once they have ended, however they did."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)


async def outlast(task: asyncio.Task[Any]) -> None:
    """Waits for the end of this task, however often the caller is cancelled meanwhile."""
    # Shielded: a scope of anyio would cancel this anew in every turn of the loop.
    with anyio.CancelScope(shield=True):
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])


def raise_if_cancelled() -> None:
    """Raises CancelledError in a task whose cancellation was swallowed; for loops that go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
