"""A worker that dies, stops or freezes: its readers hear of it in time, and no answer is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from jobs.runner import AFTER_GRACE_SECONDS
from jobs.worker import DRAIN_SECONDS
from tests.chaos.conftest import GRACE, HEARS_WITHIN, Start
from tests.chaos.member import Member
from tests.chaos.reader import Reader
from tests.chaos.system import System
from tests.chaos.waves import wave, words
from tests.services import Direction, eventually

SILENT = "demo-fast-tokens-9-silent-after-3"


async def at_work(system: System, count: int, model: str) -> tuple[list[Reader], Member, set[str]]:
    """So many generations being written, the worker that holds most of them, and which."""
    readers = await asyncio.gather(*(system.asked(model, said=f"{n}") for n in range(count)))
    await asyncio.gather(*(reader.wrote(within=30) for reader in readers))
    held = [(await system.held_by(one), one) for one in system.workers]
    most, worker = max(held, key=lambda pair: len(pair[0]))
    assert most, "no worker held anything"
    return list(readers), worker, most


def heard(reader: Reader) -> tuple[str, float]:
    """The reason of its first reset, and when it came."""
    return reader.resets[0].event.data["reason"], reader.resets[0].at


async def ended_once(system: System, reader: Reader, *, attempt: int, within: float = 15.0) -> None:
    """It completed in this attempt, in one turn, and its reader has seen just that."""
    await reader.finished(within)
    ended = await system.resource(reader.generation_id)
    assert (ended["state"], ended["attempt"]) == ("completed", attempt), reader.tale()
    assert reader.text == ended["output"]["text"]
    assert len(reader.resets) == attempt - 1, reader.tale()
    turns = await system.turns(reader.generation_id)
    assert [role for role, _, _ in turns] == ["user", "assistant"]


async def test_a_killed_workers_readers_hear_within_the_lease_and_five_seconds(
    system: System,
) -> None:
    readers, worker, lost = await at_work(system, 8, "demo-words-70-pace-30")
    killed_at = time.monotonic()
    worker.kill()
    for reader in readers:
        await ended_once(system, reader, attempt=2 if reader.generation_id in lost else 1)
        if reader.generation_id in lost:
            reason, heard_at = heard(reader)
            assert reason == "worker_lost"
            assert heard_at - killed_at < HEARS_WITHIN


@pytest.mark.long
@pytest.mark.parametrize(
    ("count", "attempts"), [(700, 2), (60, 1)], ids=["begin anew", "are ended"]
)
async def test_many_that_are_lost_at_once_hear_within_the_lease_and_five_seconds(
    start_system: Start, count: int, attempts: int
) -> None:
    system = await start_system(
        postgres=True, relays=1, max_attempts=attempts,
        token_timeout_seconds=120, first_token_timeout_seconds=120, max_jobs=count,
    )  # fmt: skip
    worker, other = system.workers
    other.kill()
    readers, _, lost = await at_work(system, count, SILENT)
    assert len(lost) == count
    await other.start()
    killed_at = time.monotonic()
    worker.kill()
    for reader in readers:
        await reader.until(lambda one: bool(one.resets), HEARS_WITHIN + 5)
        assert heard(reader)[1] - killed_at < HEARS_WITHIN


@pytest.mark.long
async def test_when_no_attempt_is_left_the_shown_text_is_kept_by_a_relay_alone(
    start_system: Start,
) -> None:
    system = await start_system(max_attempts=2)
    reader = await system.asked(SILENT)
    await reader.wrote(len("t1 t2 t3"))
    (await system.holder(reader.generation_id)).kill()
    await reader.until(lambda one: bool(one.resets) and bool(one.text))
    killed_at = time.monotonic()
    (await system.holder(reader.generation_id)).kill()
    assert not any(one.running for one in system.workers)
    await reader.finished(HEARS_WITHIN)
    assert time.monotonic() - killed_at < HEARS_WITHIN
    ended = await system.resource(reader.generation_id)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "worker_lost")
    assert reader.text == ended["output"]["text"] == "t1 t2 t3"
    assert reader.names[-4:] == ["reset", "status", "token", "failed"]
    assert (await system.turns(reader.generation_id))[1:] == [("assistant", "t1 t2 t3", True)]


async def after_the_claim(system: System) -> tuple[Reader, Member]:
    reader = await system.asked("demo-delay-800-words-5")
    await reader.until(lambda one: one.cursor is not None and one.cursor.attempt == 1)
    assert not reader.text
    return reader, await system.holder(reader.generation_id)


async def in_mid_answer(system: System) -> tuple[Reader, Member]:
    reader = await (await system.asked("demo-words-40-pace-20")).wrote(30)
    return reader, await system.holder(reader.generation_id)


async def before_the_commit(system: System) -> tuple[Reader, Member]:
    reader = await (await system.asked("demo-words-10-pace-20")).wrote(10)
    worker = await system.holder(reader.generation_id)
    assert worker.database_link is not None
    worker.database_link.black_hole(Direction.UP)
    await reader.until(lambda one: one.numbered[-1].cursor.seq == 11)
    await eventually(lambda: is_idle(system))
    assert worker.database_link.counts.held
    return reader, worker


async def after_the_commit(system: System) -> tuple[Reader, Member]:
    reader = await (await system.asked("demo-words-10-pace-20")).wrote(10)
    worker = await system.holder(reader.generation_id)
    assert worker.redis_link is not None
    # The end is committed and can't be told.
    worker.redis_link.black_hole(Direction.UP)
    await system.ended(reader.generation_id)
    assert worker.redis_link.counts.held
    assert not reader.text.endswith("snow")
    return reader, worker


async def is_idle(system: System) -> bool:
    return await system.upstreams() == 0


@pytest.mark.long
async def test_a_worker_that_dies_with_a_job_before_its_claim_keeps_it_from_nobody(
    start_system: Start,
) -> None:
    lease = 10.0
    system = await start_system(postgres=True, relays=1, lease=lease)
    worker, other = system.workers
    other.kill()
    assert worker.database_link is not None
    # The claim is asked for and never arrives; for a lease it may pick all the same.
    worker.database_link.black_hole(Direction.UP)
    counts = worker.database_link.counts
    held = counts.held
    reader = await system.asked("demo-words-5")
    await eventually(lambda: counts.held > held, within=lease)
    killed_at = time.monotonic()
    worker.kill()
    worker.database_link.heal()
    assert (await system.resource(reader.generation_id))["state"] == "queued"
    await other.start()
    await ended_once(system, reader, attempt=1, within=lease + 10)
    assert time.monotonic() - killed_at < lease + 5
    assert (await system.model_stats())["requests"] == 1


@pytest.mark.parametrize(
    ("phase", "attempt"),
    [(after_the_claim, 2), (in_mid_answer, 2), (before_the_commit, 2), (after_the_commit, 1)],
    ids=["after the claim", "in mid-answer", "before the commit", "before the announcement"],
)
@pytest.mark.long
async def test_wherever_a_worker_is_killed_there_is_one_turn_and_the_whole_text(
    postgres_system: System,
    phase: Callable[[System], Awaitable[tuple[Reader, Member]]],
    attempt: int,
) -> None:
    reader, worker = await phase(postgres_system)
    killed_at = time.monotonic()
    worker.kill()
    await ended_once(postgres_system, reader, attempt=attempt)
    if attempt == 2:
        assert heard(reader)[1] - killed_at < HEARS_WITHIN


async def test_a_stopped_worker_lets_end_what_ends_within_the_grace(start_system: Start) -> None:
    grace = 10.0
    system = await start_system(grace=grace)
    readers, worker, _ = await at_work(system, 4, "demo-words-60-pace-40")
    asked_at = worker.ask_to_stop()
    later = await system.asked("demo-words-5-pace-50")
    # It waits for what it runs, and not for its grace.
    assert await worker.stopped(within=grace) - asked_at < grace
    for reader in (*readers, later):
        await ended_once(system, reader, attempt=1)


async def test_what_does_not_end_within_the_grace_is_handed_over_at_once(system: System) -> None:
    readers, worker, held = await at_work(system, 4, "demo-words-80-pace-20")
    asked_at = worker.ask_to_stop()
    assert await worker.stopped(within=10) - asked_at < GRACE + 3
    for reader in readers:
        await ended_once(system, reader, attempt=2 if reader.generation_id in held else 1)
        if reader.generation_id in held:
            reason, heard_at = heard(reader)
            assert reason == "handed_over"
            assert heard_at - asked_at < GRACE + 3
    # A hand-over costs none of the attempts that may be lost.
    rows = await system.rows("SELECT id, lost_attempts FROM generations")
    assert {lost for one, lost in rows if one in held} == {0}


@pytest.mark.long
async def test_a_worker_that_reaches_nothing_is_gone_in_time_when_it_is_stopped(
    postgres_system: System,
) -> None:
    """Half of its generations end within the grace, and none of them can be told or stored."""
    system = postgres_system
    worker, other = system.workers
    other.kill()
    # The quick ones begin last, and write for less than the grace: they end within it for sure.
    within_grace = round(GRACE * 0.8 * 30)
    slow = await wave(system, 20, "demo-words-200-pace-30")
    quick = await wave(system, 20, f"demo-words-{within_grace}-pace-30")
    assert len(await system.held_by(worker)) == 40
    links = [one for one in (worker.redis_link, worker.database_link) if one]
    for link in links:
        link.black_hole()
    asked_at = worker.ask_to_stop()
    await worker.stopped(within=60)
    assert time.monotonic() - asked_at < GRACE + AFTER_GRACE_SECONDS + DRAIN_SECONDS + 1
    assert all(link.counts.held for link in links)
    for link in links:
        link.heal()
    # What another one is offered before the journal is replayed is begun anew, as the guide says.
    await worker.start()
    await eventually(lambda: "journal replayed" in worker.output)
    await other.start()
    for reader in (*quick, *slow):
        await reader.finished(within=25)
        ended = await system.resource(reader.generation_id)
        assert ended["state"] == "completed"
        whole = words(200 if reader in slow else within_grace)
        assert reader.text == ended["output"]["text"] == whole
        # From the journal, and not from a model that was asked once more.
        assert ended["attempt"] == (2 if reader in slow else 1)


async def test_a_zombie_neither_appends_nor_commits_nor_announces(system: System) -> None:
    readers, worker, held = await at_work(system, 6, "demo-words-50-pace-20")
    worker.freeze()

    async def is_taken_over() -> bool:
        return not await system.held_by(worker)

    await eventually(is_taken_over, within=HEARS_WITHIN, every=0.05)
    taken = [reader for reader in readers if reader.generation_id in held]
    for reader in taken:
        await reader.until(lambda one: bool(one.resets), HEARS_WITHIN)
    # Its model went on writing meanwhile: it has much to say now.
    worker.thaw()
    for reader in readers:
        await ended_once(system, reader, attempt=2 if reader in taken else 1)
        since = reader.numbered.index(reader.resets[0].event) if reader.resets else 0
        assert len({one.cursor.attempt for one in reader.numbered[since:]} - {0}) == 1
    assert worker.running


@pytest.mark.long
async def test_a_generation_longer_than_the_queues_own_timeout_runs_once(system: System) -> None:
    # The queue's jobs time out after 15 s; its locks 10 s later.
    before = await system.model_stats()
    reader = await system.asked("demo-words-56-pace-2")
    await reader.finished(40)
    await ended_once(system, reader, attempt=1)
    assert (await system.model_stats())["requests"] == before["requests"] + 1


@pytest.mark.long
async def test_rescuers_that_race_run_each_lost_generation_once(system: System) -> None:
    """Two relays and a worker rescue at once."""
    before = await system.model_stats()
    readers, worker, held = await at_work(system, 12, "demo-words-60-pace-20")
    rescuers = [one for one in (*system.relays, *system.workers) if one is not worker]
    offered = sum(one.output.count("nobody runs it: offered again") for one in rescuers)
    worker.kill()
    for reader in readers:
        await ended_once(system, reader, attempt=2 if reader.generation_id in held else 1)
    requests = (await system.model_stats())["requests"] - before["requests"]
    assert requests == len(readers) + len(held)
    offers = sum(one.output.count("nobody runs it: offered again") for one in rescuers)
    assert offers - offered >= len(held)
