"""Ends a wait for the model that has lasted too long: one timer a stream, none a token."""

import asyncio
import time
from types import TracebackType
from typing import Self


class ModelSilent(Exception):
    """The deadline passed while the model was waited for."""


class SilenceWatch:
    """`with watch:` round an await ends it with ModelSilent once the deadline has passed.

    Only what is awaited inside is ended, so that the watch may live across the yields of a
    generator, and time that its consumer takes is never the model's silence. The deadline, a
    `time.monotonic()` value, is moved by `heard`; the timer follows lazily, when it fires.
    """

    __slots__ = ("_armed_for", "_cancelling", "_deadline", "_fired", "_task", "_timer")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._fired = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def heard(self, seconds: float) -> None:
        """The model spoke: it may now be silent for this long."""
        self._deadline = time.monotonic() + seconds
        if self._timer is not None and self._deadline < self._armed_for:
            self.close()
            if self._task is not None:
                self._arm()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a silence is watched from within a task")
        self._task = task
        self._cancelling = task.cancelling()
        if self._timer is None:
            self._arm()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._fired or task is None:
            return
        self._fired = False
        # Someone else's cancellation, come at the same time, goes on as one.
        if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise ModelSilent from error

    def _arm(self) -> None:
        delay = max(0.0, self._deadline - time.monotonic())
        self._armed_for = self._deadline
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if time.monotonic() < self._deadline:
            self._arm()
        elif not self._fired:
            self._fired = True
            self._task.cancel()
