"""Wait for a condition that no event announces, in bounded time."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    *,
    within: float = 5.0,
    every: float = 0.005,
) -> None:
    """Return once `condition` is true; TimeoutError after `within` seconds.

    Only for what cannot be awaited, such as a row that another process writes.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        if loop.time() > deadline:
            raise TimeoutError(f"not so within {within} s: {condition}")
        await asyncio.sleep(every)


def until(condition: Callable[[], bool], *, within: float = 10.0, every: float = 0.005) -> None:
    """Do the same where no event loop runs: it blocks the calling thread."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {within} s: {condition}")
        time.sleep(every)
