"""What is counted: statements of all engines, tasks by whose code made them, commands of Redis."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import Engine, event


async def commands(redis: Redis) -> dict[str, int]:
    """How often each command ran since the last time, whoever sent it, those in scripts included.

    But for what connections say of themselves, and this very look.
    """
    stats = await redis.info("commandstats")
    await redis.config_resetstat()
    counted = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
    aside = ("config|", "info", "client|", "hello")
    return {name: calls for name, calls in counted.items() if not name.startswith(aside)}


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that any engine of this process executes meanwhile."""
    seen: list[str] = []

    def note(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: bool) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@contextmanager
def tasks_made_by(*packages: ModuleType) -> Iterator[list[str]]:
    """What every task runs that code of these packages makes meanwhile, itself or by a library.

    Those left out are made by the very task that looks.
    """
    homes = tuple(f"{Path(str(one.__file__)).parent}/" for one in packages)
    made: list[str] = []
    own = asyncio.current_task()

    def note(loop: asyncio.AbstractEventLoop, work: Any, **details: Any) -> asyncio.Task[Any]:
        frame = None if asyncio.current_task() is own else sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(homes):
                made.append(f"{work.__qualname__} by {frame.f_code.co_qualname}")
                break
            frame = frame.f_back
        return asyncio.Task(work, loop=loop, **details)

    loop = asyncio.get_running_loop()
    assert loop.get_task_factory() is None
    loop.set_task_factory(note)
    try:
        yield made
    finally:
        loop.set_task_factory(None)
