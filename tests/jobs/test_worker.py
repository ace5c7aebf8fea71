"""How a worker picks up, how much at once, how soon, and what a generation costs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from sqlalchemy import event
from sqlalchemy.engine import Engine

from jobs import keys
from jobs.generation import State
from jobs.runner import Runner
from tests.jobs.at_work import Work, at_work
from tests.services import eventually

SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def running(work: Work) -> int:
    """How many generations run, by the rows."""
    [(count,)] = await work.sql("SELECT count(*) FROM generations WHERE state = 'running'")
    return int(count)


async def has_running(work: Work, count: int) -> None:
    """Returns once so many run."""

    async def so_many() -> bool:
        return await running(work) == count

    await eventually(so_many)


@pytest.mark.parametrize("places", [1, 3])
async def test_a_worker_runs_no_more_than_its_places_and_leaves_the_rest_to_others(
    work: Work, places: int
) -> None:
    await work.hire(relay_max_jobs=places)
    asked = [await work.store(f"Hello {number}", model=SILENT) for number in range(5)]
    await asyncio.gather(*(work.queue.enqueue(one.id, 0) for one in asked))
    await has_running(work, places)
    # Woken in vain it is still full, and what it may not run stands in the queue.
    for _ in range(20):
        await work.redis.publish(keys.QUEUE, b"")
    assert await running(work) == places

    async def waiting(jobs: int) -> None:
        async def wait() -> bool:
            return await work.queue.depth() == jobs

        await eventually(wait)

    await waiting(5 - places)
    await work.hire()
    await has_running(work, 5)
    await waiting(0)
    assert {row[0] for row in await work.sql("SELECT attempt FROM generations")} == {1}


async def test_a_place_that_becomes_free_is_taken_at_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the poll, only a wake brings the next one.
    monkeypatch.setattr("jobs.picking.POLL_SECONDS", 30.0)
    await work.hire(relay_max_jobs=2)
    asked = [await work.ask(f"Hello {number}", model="demo-fast-words-3") for number in range(15)]
    for one in asked:
        assert (await work.ended(one, within=10)).attempt == 1


async def test_a_start_waits_for_no_poll(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.picking.POLL_SECONDS", 30.0)
    await work.hire()

    async def is_listening() -> bool:
        [(_, count)] = await work.redis.pubsub_numsub(keys.QUEUE)
        return int(count) == 1

    await eventually(is_listening)
    for number in range(5):
        asked = await work.ask(f"Hello {number}", model="demo-fast-words-3")
        assert (await work.ended(asked, within=2)).state is State.COMPLETED


@pytest.mark.parametrize("ahead_seconds", [-40, 40])
async def test_a_job_is_due_whatever_the_clock_of_the_worker_that_looks(
    work: Work, ahead_seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker's own rescuer would enqueue the later one at once.
    monkeypatch.setattr("jobs.rescue.Rescuer._unenqueued_after", property(lambda _: 600.0))
    wrong = datetime.now(UTC) + timedelta(seconds=ahead_seconds)
    due, later = [await work.store(f"Hello {n}", model="demo-fast-echo") for n in range(2)]
    assert await work.queue.enqueue(later.id, 0, defer_seconds=30)
    assert await work.queue.enqueue(due.id, 0)
    with freeze_time(wrong, tick=True, real_asyncio=True):
        hired = await work.hire()
        assert (await work.ended(due)).state is State.COMPLETED
        await hired.dismiss()
    assert (await work.read(later)).state is State.QUEUED


async def test_a_wake_that_was_lost_costs_no_more_than_a_poll(work: Work) -> None:
    await work.hire()
    await has_running(work, 0)
    asked = await work.store("Hello")
    # As by a relay whose second message was lost: in the queue, and nobody was woken.
    await work.queue.enqueue(asked.id, 0, defer_seconds=0.001)
    assert (await work.ended(asked, within=3)).state is State.COMPLETED


async def test_jobs_stuck_at_the_head_of_the_queue_keep_nobody_from_the_rest(work: Work) -> None:
    # As a worker leaves them that died in mid-claim.
    for number in range(60):
        await work.queue.enqueue(f"gen_stuck_{number}", 0)
        await work.redis.set(f"arq:in-progress:gen_stuck_{number}:0", b"1", px=30_000)
    await work.hire(relay_max_jobs=1)
    asked = await work.ask("Hello")
    assert (await work.ended(asked, within=2)).state is State.COMPLETED
    assert await work.queue.depth() == 60


async def test_a_job_that_nobody_can_read_is_dropped_and_said(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    await work.hire()
    await work.redis.set("arq:job:foreign", b"\x80\x04no json")
    await work.redis.zadd(keys.QUEUE, {"foreign": 1})
    asked = await work.ask("Hello")
    assert (await work.ended(asked)).state is State.COMPLETED

    async def is_empty() -> bool:
        return await work.queue.depth() == 0

    await eventually(is_empty)
    assert "an unreadable job is dropped" in caplog.text


async def test_a_job_that_a_defect_fails_is_not_tried_again_at_once(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    start = Runner.start

    async def broken(runner: Runner, generation_id: str, attempt: int) -> bool:
        if generation_id == "gen_broken":
            tried.append(generation_id)
            raise RuntimeError("a defect")
        return await start(runner, generation_id, attempt)

    monkeypatch.setattr(Runner, "start", broken)
    await work.hire(relay_max_jobs=1)
    await work.queue.enqueue("gen_broken", 0)
    for number in range(3):
        asked = await work.ask(f"Hello {number}")
        assert (await work.ended(asked)).state is State.COMPLETED
    assert tried == ["gen_broken"]


def slow_start(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Has workers claim nothing until the second event is set; the first one is, at a start."""
    taken, go_on = asyncio.Event(), asyncio.Event()

    async def slow(runner: Runner, generation_id: str, attempt: int) -> bool:
        taken.set()
        await go_on.wait()
        return False

    monkeypatch.setattr(Runner, "start", slow)
    return taken, go_on


async def test_what_a_worker_took_and_never_claimed_is_free_within_the_lease_and_5_s(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, go_on = slow_start(monkeypatch)
    # Before there is a worker: one that is idle is given a job without a mark.
    asked = await work.ask("Hello")
    await work.hire()
    async with asyncio.timeout(5):
        await taken.wait()
    left = await work.redis.pttl(f"arq:in-progress:{asked.id}:0")
    go_on.set()
    assert 0 < left < (work.settings.relay_lease_seconds + 5) * 1000


@contextmanager
def statements_about(ids: set[str]) -> Iterator[list[str]]:
    """Every statement of this process that names one of these ids."""
    seen: list[str] = []

    def note(_c: Any, _u: Any, statement: str, parameters: Any, *_: Any) -> None:
        named = parameters if isinstance(parameters, list) else [parameters]
        if any(not ids.isdisjoint(map(str, one)) for one in named):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_hundred_generations_beat_as_one(work: Work) -> None:
    await work.hire()
    asked = [await work.store(f"Hello {number}", model=SILENT) for number in range(30)]
    await asyncio.gather(*(work.queue.enqueue(one.id, 0) for one in asked))
    await has_running(work, 30)
    [(worker_id,)] = await work.sql("SELECT id FROM workers")
    with statements_about({worker_id}) as seen:
        before = await work.sql("SELECT heartbeat_at FROM workers")

        async def has_beaten() -> bool:
            return await work.sql("SELECT heartbeat_at FROM workers") != before

        await eventually(has_beaten)
    assert len(seen) <= 4
    with statements_about({one.id for one in asked}) as named:
        again = await work.sql("SELECT heartbeat_at FROM workers")

        async def has_beaten_again() -> bool:
            return await work.sql("SELECT heartbeat_at FROM workers") != again

        await eventually(has_beaten_again)
    assert named == []


async def test_a_log_that_redis_lost_in_the_models_silence_is_back_within_a_lease(
    work: Work,
) -> None:
    lease = 2.0
    await work.hire(relay_lease_seconds=lease)
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked)
    before = await work.log(asked)
    await work.redis.flushall()
    assert await work.stream_log.tail(asked.id) == (0, 0)

    async def is_back() -> bool:
        return await work.stream_log.tail(asked.id) != (0, 0)

    # One and a half, where a machine is busy; nobody asks for it.
    await eventually(is_back, within=1.5 * lease)
    after = await work.log(asked)
    assert [one.data for one in after][: len(before)] == [one.data for one in before]


async def test_a_model_that_never_begins_is_given_up_in_its_time_from_the_claim(
    work: Work,
) -> None:
    await work.hire(relay_first_token_timeout_seconds=1.0)
    asked = await work.ask("Hello", model="demo-fast-silent")
    ended = await work.ended(asked)
    assert ended.error is not None
    assert ended.error.code == "model_timeout"
    [(lasted,)] = await work.sql("SELECT finished_at - started_at FROM generations")
    # It waits for no second attempt of its own, and for the first no longer than it was told to.
    assert len(await work.requests()) <= 1
    assert 950 <= lasted < 10_000


async def test_what_a_stopping_worker_hands_over_can_be_taken_at_once(work: Work) -> None:
    first = await work.hire()
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked)
    assert await work.queue.depth() == 0
    await first.dismiss()
    # By nobody's round: there is no rescuer any more.
    assert await work.queue.depth() == 1
    assert await work.sql("SELECT handed_over FROM generations") == [(True,)]


async def test_a_worker_that_stops_lets_go_first_of_what_it_picked(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, go_on = slow_start(monkeypatch)
    worker = await work.hire(grace=0.0)
    await work.ask("Hello")
    async with asyncio.timeout(5):
        await taken.wait()
    dismissal = asyncio.create_task(worker.dismiss())
    done, _ = await asyncio.wait({dismissal}, timeout=0.5)
    assert not done
    go_on.set()
    await dismissal
    assert await work.queue.depth() == 0


async def test_a_worker_that_stops_gives_up_a_start_that_never_ends(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = asyncio.Event()
    given_up: list[str] = []

    async def endless(runner: Runner, generation_id: str, attempt: int) -> bool:
        taken.set()
        try:
            return await asyncio.Future[bool]()
        except asyncio.CancelledError:
            given_up.append(generation_id)
            raise

    monkeypatch.setattr(Runner, "start", endless)
    monkeypatch.setattr("jobs.picking.SETTLE_SECONDS", 0.1)
    worker = await work.hire(grace=0.0)
    asked = await work.ask("Hello")
    async with asyncio.timeout(5):
        await taken.wait()
    await worker.dismiss()
    assert given_up == [asked.id]
    # It is for another worker.
    assert await work.queue.depth() == 1
