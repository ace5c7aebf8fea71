"""Loaded by every program of the suite at its start: answers SIGUSR1 with a census of itself.

The program stays as it is; the file that `CHAOS_CENSUS` names gets its asyncio tasks by name.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType


def _take(number: int, frame: FrameType | None) -> None:
    tasks = Counter(_name(task) for task in asyncio.all_tasks())
    target = Path(os.environ["CHAOS_CENSUS"] + f".{os.getpid()}")
    written = target.with_suffix(".new")
    written.write_text(json.dumps(tasks), encoding="utf-8")
    written.rename(target)


def _name(task: "asyncio.Task[object]") -> str:
    coroutine = task.get_coro()
    return str(getattr(coroutine, "__qualname__", coroutine))


if "CHAOS_CENSUS" in os.environ:
    signal.signal(signal.SIGUSR1, _take)
