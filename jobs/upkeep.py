"""Keeps a worker's background loops up: one that fails is said loudly and begins again."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from jobs.cancelling import end_tasks

log = logging.getLogger(__name__)

AGAIN_FIRST_SECONDS = 0.2
AGAIN_LAST_SECONDS = 10.0
HEALTHY_SECONDS = 60.0
"""A loop that ran for so long starts again without delay."""

Loop = Callable[[], Awaitable[None]]


async def keep_up(name: str, run: Loop) -> None:
    """Runs it until it returns; when it raises, that is logged and it runs again a little later.

    A defect in one duty must neither pass unnoticed nor end the generations that run beside it.
    """
    delay = AGAIN_FIRST_SECONDS
    while True:
        started = time.monotonic()
        try:
            return await run()
        except Exception:
            if time.monotonic() - started > HEALTHY_SECONDS:
                delay = AGAIN_FIRST_SECONDS
            log.exception(
                "a background loop failed", extra={"loop": name, "again_in_seconds": delay}
            )
        await asyncio.sleep(delay)
        delay = min(delay * 2, AGAIN_LAST_SECONDS)


@asynccontextmanager
async def kept_up(loops: Mapping[str, Loop]) -> AsyncIterator[None]:
    """Keeps these loops up beside the block, and ends them with it."""
    tasks = [asyncio.create_task(keep_up(name, run), name=name) for name, run in loops.items()]
    try:
        yield
    finally:
        await end_tasks(tasks)
