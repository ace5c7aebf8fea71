"""What runs here is counted, announced, and neither forgotten nor run twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs import keys
from jobs.errors import Unavailable
from jobs.generate import generate
from jobs.generation import Generation, State
from jobs.pubsub import open_pubsub
from jobs.runner import Runner, started
from jobs.store.claims import Claimed, beat, claim, register_worker
from jobs.store.commits import request_cancel
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


async def test_an_attempt_that_broke_off_is_lost_while_its_worker_lives_and_not_run_for_ever(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    async def broken(workshop: Any, claimed: Claimed, *_: Any) -> None:
        attempts.append(claimed.attempt)
        raise RuntimeError("a defect")

    monkeypatch.setattr("jobs.runner.generate", broken)
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(await work.ask("Hello"), within=15)
    assert attempts == [1, 2]
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")
    assert caplog.text.count("an attempt broke off") == 2


async def test_a_claim_unheard_of_costs_no_attempt_though_an_earlier_one_broke_off_here(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    unheard: list[Claimed] = []

    async def broken_once(workshop: Any, claimed: Claimed, *others: Any) -> None:
        if claimed.attempt == 1:
            raise RuntimeError("a defect")
        await generate(workshop, claimed, *others)

    async def claim_second_unheard(*given: Any, **named: Any) -> Any:
        claimed = await claim(*given, **named)
        if claimed is not None and claimed.attempt == 2:
            unheard.append(claimed)
            raise Unavailable("the database")
        return claimed

    monkeypatch.setattr("jobs.runner.generate", broken_once)
    monkeypatch.setattr("jobs.runner.claim", claim_second_unheard)
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"), within=15)
    assert (ended.state, ended.attempt, len(unheard)) == (State.COMPLETED, 3, 1)
    assert await work.sql("SELECT lost_attempts FROM generations") == [(1,)]


async def test_what_runs_here_and_is_offered_here_as_lost_is_not_claimed_from_oneself(
    work: Work,
) -> None:
    """Its beats were late, for one: it goes on with what it has begun, and begins nothing anew."""
    await work.hire()
    asked = await work.ask("Hello", model="demo-words-30-pace-30")
    await work.wrote(asked)
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    await work.queue.enqueue(asked.id, 1)

    async def was_picked() -> bool:
        return await work.queue.depth() == 0

    await eventually(was_picked)
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert len(await work.requests()) == 1


async def test_what_broke_off_can_be_cancelled_while_its_worker_lives(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke = 0

    async def broken_once(workshop: Any, claimed: Claimed, *others: Any) -> None:
        nonlocal broke
        if claimed.attempt == 1:
            await request_cancel(work.db, None, claimed.id)
            broke += 1
            raise RuntimeError("a defect")
        await generate(workshop, claimed, *others)

    monkeypatch.setattr("jobs.runner.generate", broken_once)
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(await work.ask("Hello"), within=15)
    assert (ended.state, broke) == (State.CANCELLED, 1)


@pytest.mark.parametrize("stuck", [False, True])
async def test_of_all_that_was_lost_readers_hear_before_a_model_is_asked(
    work: Work, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    monkeypatch.setattr("jobs.runner.CLAIMS_FIRST_SECONDS", 0.3 if stuck else 30)
    lost = [await work.ask(f"Hello {number}", model="demo-fast-echo") for number in range(5)]
    await work.sql("UPDATE generations SET state = 'running', attempt = 1, worker_id = 'wrk_lost'")
    await work.redis.delete(keys.QUEUE)
    *early, late = lost
    go_on = asyncio.Event()

    async def claim_late(db: Any, generation_id: str, *others: Any, **named: Any) -> Any:
        if generation_id == late.id:
            await go_on.wait()
        return await claim(db, generation_id, *others, **named)

    async def has_begun(one: Generation) -> bool:
        return [event.name for event in await work.log(one)][:1] == ["reset"]

    monkeypatch.setattr("jobs.runner.claim", claim_late)
    await work.hire()
    await work.queue.enqueue_all([(one.id, 1, 0) for one in lost])
    for one in early:
        await eventually(lambda one=one: has_begun(one))
    if stuck:
        # Not for ever: a claim may take as long as its database.
        await asyncio.gather(*(work.ended(one) for one in early))
    assert len(await work.requests()) == (len(early) if stuck else 0)
    go_on.set()
    for one in lost:
        assert (await work.ended(one)).state is State.COMPLETED


async def test_a_worker_whose_lease_has_run_out_claims_nothing_until_it_is_renewed(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it claimed would be lost from the start, and run a second time elsewhere."""
    unheard = 0

    async def away(*_: Any, **__: Any) -> None:
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


async def test_a_beat_that_tells_of_an_earlier_attempt_stops_no_later_one(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    fenced: list[int] = []
    running, fence = vars(Runner)["running"].fget, Runner.fence

    def running_before(runner: Runner) -> dict[str, int]:
        return {name: attempt - 1 for name, attempt in running(runner).items()}

    def fence_noted(runner: Runner, generation_id: str, attempt: int) -> None:
        fenced.append(attempt)
        fence(runner, generation_id, attempt)

    monkeypatch.setattr(Runner, "running", property(running_before))
    monkeypatch.setattr(Runner, "fence", fence_noted)
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(await work.ask("Hello", model="demo-words-30-pace-30"))
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert set(fenced) == {0}


async def test_a_claim_whose_answer_is_on_its_way_is_not_handed_over_by_a_beat(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats, claims = 0, 0

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal beats
        told = await beat(*arguments, **named)
        beats += 1
        return told

    async def slow(*arguments: Any, **named: Any) -> Any:
        nonlocal claims
        claimed = await claim(*arguments, **named)
        claims, before = claims + 1, beats
        # The one under way may have asked before this was stored; the next one has seen it.
        await eventually(lambda: beats > before + 2)
        return claimed

    monkeypatch.setattr("jobs.beat.beat", counted)
    monkeypatch.setattr("jobs.runner.claim", slow)
    await work.hire(relay_lease_seconds=1.0)
    ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert (ended.state, ended.attempt, claims) == (State.COMPLETED, 1, 1)


async def test_a_claim_under_way_when_the_worker_stops_is_handed_over(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    claiming, go_on = asyncio.Event(), asyncio.Event()
    waited: list[bool] = []
    stop = Runner.stop

    async def stop_noted(runner: Runner) -> None:
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        await stop(runner)
        waited.append(go_on.is_set())

    async def slow(*arguments: Any, **named: Any) -> Any:
        # Where it was told of ahead, its model would have been asked by now.
        claimed = await claim(*arguments, **{**named, "ahead": None})
        claiming.set()
        await go_on.wait()
        return claimed

    with monkeypatch.context() as patch:
        patch.setattr("jobs.runner.claim", slow)
        patch.setattr(Runner, "stop", stop_noted)
        hired = await work.hire()
        asked = await work.ask("Hello")
        await claiming.wait()
        await hired.dismiss()
    assert waited == [True]
    assert await work.requests() == []
    await work.hire()
    ended = await work.ended(asked, within=3)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert await work.sql("SELECT lost_attempts FROM generations") == [(0,)]
