"""Tasks end for certain, though a cancellation is swallowed on its way."""

import asyncio
import contextlib

import pytest

from jobs.cancelling import end_tasks, raise_if_cancelled


async def test_a_swallowed_cancellation_is_sent_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end_tasks({task})
    assert task.cancelled()
    assert swallowed == 3


async def test_tasks_that_have_ended_need_nothing() -> None:
    async def at_once() -> None:
        return

    task = asyncio.create_task(at_once())
    await task
    await end_tasks([task])
    await end_tasks([])


async def test_a_loop_hears_of_a_cancellation_that_was_swallowed_inside() -> None:
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            raise_if_cancelled()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds == 1
