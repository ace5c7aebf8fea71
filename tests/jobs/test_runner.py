"""What runs here is counted, announced, and neither forgotten nor run twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs import keys
from jobs.errors import Unavailable
from jobs.generation import Generation, State
from jobs.pubsub import open_pubsub
from jobs.runner import started
from jobs.store.claims import claim, register_worker
from tests.jobs.at_work import OWNER, Work, at_work
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def test_a_claim_is_shown_as_the_row_would_be(work: Work) -> None:
    asked = await work.store("Hello")
    await register_worker(work.db, "wrk_1", 1)
    claimed = await claim(work.db, asked.id, 0, "wrk_1", lease_seconds=10)
    assert claimed is not None
    assert started(claimed) == await work.read(asked)


async def test_the_feed_hears_of_the_start_and_of_the_end(work: Work, redis_url: str) -> None:
    heard: list[Generation] = []
    async with open_pubsub(redis_url) as pubsub:
        channel = pubsub.subscribe(
            keys.feed(OWNER),
            lambda message: heard.append(msgspec.json.decode(message, type=Generation)),
            lambda: None,
        )
        assert await channel.wait()
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-echo")
        await eventually(lambda: len(heard) == 2)
    assert [one.state for one in heard] == [State.RUNNING, State.COMPLETED]
    assert {one.id for one in heard} == {asked.id}
    assert heard[1].output is not None
    assert heard[1].output.text is msgspec.UNSET
    assert heard[1].output.characters == len("Hello")


async def test_an_attempt_that_broke_off_is_said_and_not_run_again_and_again(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    async def broken(*_: Any) -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.runner.generate", broken)
        hired = await work.hire(relay_lease_seconds=1.0)
        asked = await work.ask("Hello")
        await eventually(lambda: runs == 1)
        [(beaten,)] = await work.sql("SELECT heartbeat_at FROM workers")

        async def has_beaten() -> bool:
            [(again,)] = await work.sql("SELECT heartbeat_at FROM workers")
            return bool(again > beaten + 600)

        await eventually(has_beaten)
        assert runs == 1
        assert "an attempt broke off" in caplog.text
        await hired.dismiss()
    # Lost with its worker, which counts: it is run again, but not for ever.
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert await work.sql("SELECT lost_attempts FROM generations") == [(1,)]


async def test_a_worker_whose_lease_has_run_out_claims_nothing_until_it_is_renewed(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it claimed would be lost from the start, and run a second time elsewhere."""
    unheard = 0

    async def away(*_: Any) -> None:
        nonlocal unheard
        unheard += 1
        raise Unavailable("the database")

    await work.hire(relay_lease_seconds=0.5)
    await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    with monkeypatch.context() as patch:
        patch.setattr("jobs.beat.beat", away)
        # Four beats a lease.
        await eventually(lambda: unheard > 5)
        asked = await work.ask("Hello", model="demo-fast-echo")
        before = unheard
        # Long enough for the message, and for the poll of the queue behind it.
        await eventually(lambda: unheard > before + 8)
        assert (await work.read(asked)).attempt == 0
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)


async def test_a_claim_under_way_when_the_worker_stops_is_handed_over(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **named: Any) -> Any:
        claimed = await claim(*arguments, **named)
        claiming.set()
        await go_on.wait()
        return claimed

    with monkeypatch.context() as patch:
        patch.setattr("jobs.runner.claim", slow)
        hired = await work.hire()
        asked = await work.ask("Hello")
        await claiming.wait()
        hired.stop.set()
        await asyncio.sleep(0)
        go_on.set()
        await hired.dismiss()
    assert await work.requests() == []
    await work.hire()
    ended = await work.ended(asked, within=3)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert await work.sql("SELECT lost_attempts FROM generations") == [(0,)]
