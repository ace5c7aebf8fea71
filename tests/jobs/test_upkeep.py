"""Background loops: a failure is loud, and is not the end of the loop."""

import asyncio

import pytest

from jobs.outage import Outage
from jobs.upkeep import keep_up, kept_up


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops begin again without delay."""
    monkeypatch.setattr("jobs.upkeep.AGAIN_FIRST_SECONDS", 0.0)


async def test_a_loop_that_fails_is_said_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0
    again = asyncio.Event()

    async def fragile() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise KeyError(f"defect {runs}")
        again.set()
        await asyncio.Event().wait()

    async with kept_up({"fragile": fragile}), asyncio.timeout(5):
        await again.wait()
    assert runs == 3
    assert caplog.text.count("a background loop failed") == 2
    assert "KeyError: 'defect 2'" in caplog.text


async def test_one_that_fails_leaves_the_others_running() -> None:
    ticks = 0
    enough = asyncio.Event()

    async def broken() -> None:
        raise ValueError("always")

    async def steady() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1
            if ticks > 100:
                enough.set()

    async with kept_up({"broken": broken, "steady": steady}), asyncio.timeout(5):
        await enough.wait()


async def test_one_that_has_done_its_work_is_not_run_again() -> None:
    runs = 0

    async def once() -> None:
        nonlocal runs
        runs += 1

    await keep_up("once", once)
    assert runs == 1


async def test_loops_end_with_the_block_whatever_they_do() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)

    async with kept_up({"stubborn": stubborn}):
        await asyncio.sleep(0)
    assert "stubborn" not in {task.get_name() for task in asyncio.all_tasks()}


def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    outage = Outage("the queue can't be read")
    outage.over()
    for number in range(5):
        outage.lasts(f"reason {number}")
    outage.over()
    outage.over()
    outage.lasts("reason again")
    assert [record.getMessage() for record in caplog.records] == [
        "the queue can't be read: waiting",
        "the queue can't be read: going on",
        "the queue can't be read: waiting",
    ]
    assert [getattr(record, "reason", None) for record in caplog.records] == [
        "reason 0",
        None,
        "reason again",
    ]
