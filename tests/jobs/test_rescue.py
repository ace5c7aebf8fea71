"""What nobody works on is found, and runs or ends: by any number of rescuers, none hasty."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.events import FileDelta, Notice, Status, Token
from jobs.generation import FileChange, Generation, SkillChoice, State
from jobs.offers import AGAIN_SECONDS, LOST_SPREAD_SECONDS, SPREAD_SECONDS, spread
from jobs.rescue import (
    END_AGAIN_SECONDS,
    ENDS_AT_ONCE,
    ROWS_A_DUTY,
    UNHEARD_SHARE,
    UNREADABLE_SECONDS,
)
from jobs.store import commits
from jobs.store.claims import claim, hand_over, register_worker
from jobs.store.leftovers import Lost, find_lost
from jobs.store.workers import beat, check_beats_can_be_stored, try_a_beat
from jobs.stream_log import Append
from tests.conformance.test_cost import counted
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.services import RedisServer, eventually

LEASE = 10.0


class Clock:
    """The rescuer's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that rescuers of this test go by."""
    clock = Clock()
    monkeypatch.setattr("jobs.rescue.time", clock)
    return clock


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker."""
    async with at_work(redis_url, database_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def abandoned(work: Work, said: str = "t1 t2", **details: Any) -> Generation:
    """A generation whose worker wrote this text and was lost."""
    generation = await work.store("Hello", **details)
    await register_worker(work.db, "wrk_lost", 1)
    assert await claim(work.db, generation.id, 0, "wrk_lost", lease_seconds=LEASE)
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    if said:
        attempt_log = AttemptLog(generation.id, 1, lambda _log, _urgent: None)
        attempt_log.append("status", Status(State.RUNNING, 1))
        attempt_log.append_text(said)
        frames = attempt_log.unsent()
        await work.stream_log.append([Append(generation.id, 1, 1, frames, 60_000)])
    return generation


async def row_of(work: Work, one: Generation) -> tuple[str, int]:
    """Its state and attempt, by a hand in the database."""
    [row] = await work.sql("SELECT state, attempt FROM generations WHERE id = :id", id=one.id)
    return row[0], row[1]


async def judge(rescuer: Any, clock: Clock) -> None:
    """Rounds over a whole lease of contact, then the one that may judge."""
    for _ in range(4):
        await rescuer.round()
        clock.now += LEASE / 3
    await rescuer.round()


async def test_what_was_stored_and_never_enqueued_is_started(work: Work) -> None:
    asked = await work.store("Hello", model="demo-fast-echo")
    await work.sql("UPDATE generations SET created_at = created_at - 3000")
    rescuer = work.rescuer()
    await rescuer.round()
    await rescuer.round()
    assert await work.queue.depth() == 1
    assert rescuer.counts.enqueued == 1
    await work.hire()
    assert (await work.ended(asked)).state is State.COMPLETED


async def test_many_that_nobody_takes_keep_no_others_from_being_enqueued(work: Work) -> None:
    stored = 2 * ROWS_A_DUTY + 50
    for _ in range(stored):
        await work.store("Hello")
    # Many of one instant.
    await work.sql("UPDATE generations SET created_at = created_at / 1000 * 1000 - 60000")
    rescuer = work.rescuer()
    for _ in range(2):
        # Once more from the oldest on, as when Redis has lost them.
        await work.redis.delete(keys.QUEUE)
        for there in (ROWS_A_DUTY, 2 * ROWS_A_DUTY, stored):
            await rescuer.round()
            assert await work.queue.depth() == there
    assert rescuer.counts.enqueued == stored


async def test_all_that_is_overdue_at_once_expires_in_one_round(work: Work, clock: Clock) -> None:
    stored = ROWS_A_DUTY + 50
    for _ in range(stored):
        await work.store("Hello")
    await work.sql("UPDATE generations SET expires_at = created_at - 1")
    rescuer = work.rescuer()
    await rescuer.round()
    left = await work.sql("SELECT count(*) FROM generations WHERE state <> 'expired'")
    assert (left, rescuer.counts.expired) == ([(0,)], stored)


async def test_what_was_just_stored_is_left_to_its_relay(work: Work) -> None:
    await work.store("Hello")
    await work.rescuer().round()
    assert await work.queue.depth() == 0


async def test_what_is_overdue_expires_by_a_relay_alone_and_never_runs(work: Work) -> None:
    asked = await work.ask("Hello", expires_seconds=0.2)
    async with work.relay_alone(relay_lease_seconds=2.0):
        ended = await work.ended(asked, within=2.2)
    assert (ended.state, ended.attempt, ended.output) == (State.EXPIRED, 0, None)
    assert ended.error is not None
    assert ended.error.code == "not_started"
    await work.hire()
    await work.ended(await work.ask("Another"))
    assert [body["messages"][-1]["content"] for body in await work.requests()] == ["Another"]


async def test_those_who_wait_behind_nobody_are_promoted_and_run_in_order(work: Work) -> None:
    first = await work.store("Hello 1", model="demo-fast-echo")
    for number in (2, 3):
        await work.store(
            f"Hello {number}", model="demo-fast-echo",
            conversation_id=first.conversation_id, on_active="queue",
        )  # fmt: skip
    # As after a hand in the database: nobody holds the place.
    await work.sql("UPDATE generations SET state = 'cancelled', active = false WHERE id = :id",
                   id=first.id)  # fmt: skip
    rescuer = work.rescuer()
    await rescuer.round()
    assert rescuer.counts.promoted == 1
    await work.hire()

    async def said() -> bool:
        return [text for role, text, _ in await work.turns(first) if role == "assistant"] == [
            "Hello 2",
            "Hello 3",
        ]

    await eventually(said, within=10)


async def test_a_lost_workers_generation_is_offered_again_once(work: Work, clock: Clock) -> None:
    asked = await abandoned(work)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    await rescuer.round()
    assert rescuer.counts.offered_again == 1
    assert await work.queue.depth() == 1
    assert (await work.read(asked)).attempt == 1


async def test_what_was_offered_is_left_to_the_workers_for_a_while(
    work: Work, clock: Clock
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3 + 0.1
    await rescuer.round()
    await work.redis.delete(keys.QUEUE)
    clock.now += AGAIN_SECONDS - 0.1
    await rescuer.round()
    assert await work.queue.depth() == 0
    clock.now += 0.2
    await rescuer.round()
    assert await work.queue.depth() == 1
    assert rescuer.counts.offered_again == 1


async def test_all_that_a_large_worker_lost_is_offered_in_one_round(
    work: Work, clock: Clock
) -> None:
    lost = 250
    for _ in range(lost):
        await work.store("Hello")
    await register_worker(work.db, "wrk_lost", lost)
    # As claimed by it, all at once.
    await work.sql("UPDATE generations SET state = 'running', attempt = 1, worker_id = 'wrk_lost'")
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == lost == await work.queue.depth()
    # Spread, and no longer than their readers may wait.
    due = sorted(score for _, score in await work.redis.zrange(keys.QUEUE, 0, -1, withscores=True))
    assert (due[-1] - due[0]) / 1000 > LOST_SPREAD_SECONDS / 2
    assert due[-1] / 1000 < time.time() + LOST_SPREAD_SECONDS


async def test_those_that_were_lost_too_often_are_ended_side_by_side(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [await abandoned(work, f"text {number}") for number in range(ENDS_AT_ONCE)]
    all_at_it = asyncio.Barrier(len(lost))

    async def together(*arguments: Any, **named: Any) -> Any:
        async with asyncio.timeout(10):
            await all_at_it.wait()
        return await claim(*arguments, **named)

    monkeypatch.setattr("jobs.rescue.claim", together)
    rescuer = work.rescuer(relay_max_attempts=1)
    await judge(rescuer, clock)
    assert rescuer.counts.ended_lost == len(lost)


async def test_lost_too_often_it_ends_with_the_text_in_one_token(work: Work, clock: Clock) -> None:
    asked = await abandoned(work, "ChidÉ 🎉")
    rescuer = work.rescuer(relay_max_attempts=1)
    await judge(rescuer, clock)
    ended = await work.read(asked)
    events = await work.told(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 2)
    assert ended.error is not None
    assert (ended.error.code, ended.error.retryable) == ("worker_lost", True)
    assert [event.name for event in events] == ["reset", "status", "token", "failed"]
    assert str(events[-1].cursor) == "2.4.7"
    assert text_of(events) == "ChidÉ 🎉"
    assert text_of(await work.rebuilt(asked)) == "ChidÉ 🎉"
    assert (await work.turns(asked))[-1] == ("assistant", "ChidÉ 🎉", True)


async def test_one_that_may_not_begin_anew_ends_at_its_first_loss(work: Work, clock: Clock) -> None:
    asked = await abandoned(work, restartable=False)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")


async def test_one_that_was_cancelled_ends_as_cancelled_with_its_text_though_no_worker_is_left(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert await row_of(work, asked) == ("running", 1)
    await work.cancel(asked)
    await rescuer.round()
    ended = await work.read(asked)
    assert (ended.state, ended.attempt, ended.error) == (State.CANCELLED, 2, None)
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2", True)
    events = await work.told(asked)
    assert [event.name for event in events] == ["reset", "status", "token", "cancelled"]
    after = await work.store("And now?", conversation_id=asked.conversation_id)
    assert after.state is State.QUEUED


async def test_one_that_nobody_takes_over_ends_when_a_queued_one_would_have_expired(
    work: Work, clock: Clock
) -> None:
    waits = 30.0
    lost, given = await abandoned(work, "t1 t2"), await abandoned(work, "t3")
    assert await hand_over(work.db, given.id, 1)
    rescuer = work.rescuer(relay_queue_expires_seconds=waits)
    await judge(rescuer, clock)
    for _ in range(round(waits / LEASE * 3) - 2):
        clock.now += LEASE / 3
        await rescuer.round()
        assert await row_of(work, lost) == ("running", 1)
    for _ in range(3):
        clock.now += LEASE / 3
        await rescuer.round()
    for one, said in ((lost, "t1 t2"), (given, "t3")):
        ended = await work.read(one)
        assert ended.error is not None
        assert ended.output is not None
        assert (ended.state, ended.error.code, ended.output.text) == (
            State.FAILED,
            "worker_lost",
            said,
        )


async def test_after_a_month_what_was_lost_is_ended_and_not_begun_anew(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    await work.sql("UPDATE generations SET started_at = started_at - 2592000000")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2", True)
    assert (rescuer.counts.offered_again, await work.queue.depth()) == (0, 0)


async def test_where_readers_know_no_reset_each_event_is_kept_apart(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "", restartable=False)
    written = FileChange("a.md", "write", 3, "ab" * 32)
    attempt_log = AttemptLog(asked.id, 1, lambda _log, _urgent: None)
    attempt_log.append("status", Status(State.RUNNING, 1))
    attempt_log.append_again(Token("ChidÉ"))
    attempt_log.append_again(Token(" 🎉"))
    attempt_log.append_file_delta(FileDelta("a.md", 0, "one"))
    attempt_log.append("file", written)
    attempt_log.append("skill", SkillChoice("cook", None, 0.0))
    attempt_log.append("notice", Notice("code", "message"))
    attempt_log.append_again(Token("\n\n"))
    frames = attempt_log.unsent()
    await work.stream_log.append([Append(asked.id, 1, 1, frames, 60_000)])
    shown = [(one.name, one.data) for one in await work.log(asked) if one.name != "file_delta"]
    await judge(work.rescuer(), clock)
    events = await work.told(asked)
    assert [one.name for one in events[:2]] == ["reset", "status"]
    assert [(one.name, one.data) for one in events[2:-1]] == shown[1:]
    assert [one.cursor for one in await work.rebuilt(asked)] == [one.cursor for one in events[:-1]]
    ended = await work.read(asked)
    assert ended.output is not None
    assert ended.output.text == "ChidÉ 🎉\n\n"


async def test_one_that_was_handed_over_untold_may_begin_anew_whatever_its_readers_know(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "", restartable=False)
    assert await hand_over(work.db, asked.id, 1)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1
    assert (await work.read(asked)).state is State.RUNNING
    assert await work.queue.depth() == 1


async def test_one_that_can_not_be_ended_is_left_alone_for_a_while_and_then_ends(
    work: Work, clock: Clock
) -> None:
    first, second = await abandoned(work, "t1 t2"), await abandoned(work, "t3")
    rescuer = work.rescuer(relay_max_attempts=1)
    await work.sql("ALTER TABLE turns RENAME COLUMN partial TO partial_away")
    await judge(rescuer, clock)
    for _ in range(5):
        await rescuer.round()
    # Each try costs an attempt, and tells its readers of it.
    assert [await row_of(work, one) for one in (first, second)] == [("running", 2)] * 2
    await work.sql("ALTER TABLE turns RENAME COLUMN partial_away TO partial")
    for _ in range(int(END_AGAIN_SECONDS / LEASE * 3) + 1):
        await rescuer.round()
        clock.now += LEASE / 3
    await rescuer.round()
    assert [await row_of(work, one) for one in (first, second)] == [("failed", 3)] * 2


async def test_a_text_that_can_not_be_stored_keeps_nobody_from_an_end(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await abandoned(work, "t1 t2")

    async def narrow(*arguments: Any, **named: Any) -> None:
        raise ValueError("no column can hold this")

    monkeypatch.setattr(commits, "add_turn", narrow)
    await judge(work.rescuer(relay_max_attempts=1), clock)
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code, ended.output) == (State.FAILED, "worker_lost", None)


async def test_two_rescuers_at_once_are_harmless(work: Work, clock: Clock) -> None:
    lost = [await abandoned(work, f"text {number}") for number in range(6)]
    first, second = (work.rescuer(relay_max_attempts=1) for _ in range(2))
    for _ in range(4):
        await asyncio.gather(first.round(), second.round())
        clock.now += LEASE / 3
    await asyncio.gather(first.round(), second.round())
    await asyncio.gather(first.round(), second.round())
    assert first.counts.ended_lost + second.counts.ended_lost == 6
    for number, one in enumerate(lost):
        ended = await work.read(one)
        assert ended.output is not None
        assert (ended.state, ended.output.text) == (State.FAILED, f"text {number}")
        assert len(await work.turns(one)) == 2
        assert names_of(await work.told(one)) == ["reset", "status", "token", "failed"]


async def test_an_attempt_that_wrote_nothing_leaves_the_text_of_the_one_before(
    work: Work, clock: Clock
) -> None:
    asked = await abandoned(work, "t1 t2")
    # A rescuer that died between its claim and its first word.
    assert await claim(work.db, asked.id, 1, "wrk_gone", lease_seconds=LEASE)
    await judge(work.rescuer(), clock)
    ended = await work.read(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 3)
    assert ended.output is not None
    assert ended.output.text == "t1 t2"


async def test_nobody_is_judged_before_a_whole_lease_of_contact(work: Work, clock: Clock) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3 - 0.01
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    clock.now += 0.04
    await rescuer.round()
    assert rescuer.counts.offered_again == 1


async def test_a_database_that_was_away_begins_the_lease_of_contact_anew(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the database")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.rescue.look_for_leftovers", away)
        await rescuer.round()
    clock.now += LEASE / 3
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1


async def test_a_read_only_database_makes_nobody_lost(
    redis_url: str, postgres_url: str, tmp_path: Path, clock: Clock
) -> None:
    """As when its disk is full or a replica was promoted late: all can be read, nobody can beat."""
    name = postgres_url.rpartition("/")[2]
    async with at_work(redis_url, postgres_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        await rescuer.round()
        await work.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        async with Database.open(postgres_url) as rescuer.database:
            await judge(rescuer, clock)
            assert rescuer.counts.offered_again == 0
        await work.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        async with Database.open(postgres_url) as rescuer.database:
            await rescuer.round()
            assert rescuer.counts.offered_again == 0
            await judge(rescuer, clock)
            assert rescuer.counts.offered_again == 1


@contextmanager
def no_room_on_the_disk() -> Iterator[None]:
    """No file of this process grows: what changes nothing passes, whatever is written fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_makes_nobody_lost(
    redis_url: str, sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        await judge(rescuer, clock)
        assert rescuer.counts.offered_again == 1
        await work.redis.delete(keys.QUEUE)
        clock.now += AGAIN_SECONDS
        with no_room_on_the_disk():
            with pytest.raises(Unavailable):
                await beat(work.db, "wrk_lost", 0)
            await check_beats_can_be_stored(work.db)
            await judge(rescuer, clock)
        assert await work.queue.depth() == 0
        # Those who live have a whole lease to beat once there is room.
        await rescuer.round()
        assert await work.queue.depth() == 0
        await judge(rescuer, clock)
        assert await work.queue.depth() == 1


async def test_a_disk_that_has_room_again_just_when_a_lease_is_over_makes_nobody_lost(
    redis_url: str, sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        await abandoned(work)
        rescuer = work.rescuer()
        for silent in (0.1, 0.4, 0.7):
            await silence(work, silent * LEASE)
            with no_room_on_the_disk():
                await rescuer.round()
            clock.now += 0.3 * LEASE
        await silence(work, 1.01 * LEASE)
        clock.now += 0.1 * LEASE
        await rescuer.round()
        assert rescuer.counts.offered_again == 0


async def silence(work: Work, seconds: float) -> None:
    """Every worker beat last so long ago."""
    await work.sql(
        "UPDATE workers SET heartbeat_at ="
        " CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) - :ago",
        ago=round(seconds * 1000),
    )


async def test_to_try_whether_beats_are_stored_leaves_nothing_and_many_may_at_once(
    work: Work,
) -> None:
    await register_worker(work.db, "wrk_1", 1)
    with counted() as statements:
        await try_a_beat(work.db, "wrk_2", within=5)
    assert [one.split()[0] for one in statements] == ["INSERT", "DELETE"]
    await asyncio.gather(*(try_a_beat(work.db, f"wrk_{n}", within=5) for n in range(2, 8)))
    assert await work.sql("SELECT id FROM workers") == [("wrk_1",)]


async def test_a_rescuer_that_stood_still_itself_judges_nobody(work: Work, clock: Clock) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    await rescuer.round()
    clock.now += 10 * LEASE
    await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1


async def test_a_database_that_stood_still_while_it_was_asked_makes_nobody_lost(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await abandoned(work)
    rescuer = work.rescuer()
    for _ in range(3):
        await rescuer.round()
        clock.now += LEASE / 3

    async def slow(*arguments: Any, **named: Any) -> list[Lost]:
        found = await find_lost(*arguments, **named)
        clock.now += UNHEARD_SHARE * LEASE + 0.1
        assert len(found) == 1
        return found

    with monkeypatch.context() as patch:
        patch.setattr("jobs.rescue.find_lost", slow)
        await rescuer.round()
    assert rescuer.counts.offered_again == 0
    await judge(rescuer, clock)
    assert rescuer.counts.offered_again == 1


async def test_a_duty_that_fails_keeps_no_other_from_being_done(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = await work.store("Hello", expires_seconds=0.001)
    await abandoned(work)

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("jobs.rescue.look_for_leftovers", broken)
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    assert (await work.read(asked)).state is State.EXPIRED
    assert rescuer.counts.offered_again == 1
    assert rescuer.counts.failures == 5
    # Said loudly, but not in every round.
    assert caplog.text.count("a rescuer's duty failed") == 1
    clock.now += 60
    await rescuer.round()
    assert caplog.text.count("a rescuer's duty failed") == 2


async def test_a_log_that_can_not_be_read_is_waited_for_and_then_given_up(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        first, second = await abandoned(work, "one"), await abandoned(work, "two")
        rescuer = work.rescuer(relay_max_attempts=1)
        for _ in range(3):
            await rescuer.round()
            clock.now += LEASE / 3
        redis.kill()
        clock.now += 0.1
        await rescuer.round()
        assert (await work.read(first)).state is State.RUNNING
        for _ in range(3):
            clock.now += UNREADABLE_SECONDS / 3 + 0.1
            await rescuer.round()
        for one in (first, second):
            ended = await work.read(one)
            assert (ended.state, ended.output) == (State.FAILED, None)


async def test_what_redis_does_not_take_is_offered_in_the_next_round(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path, clock: Clock
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        for number in range(3):
            await work.store(f"Hello {number}")
        await abandoned(work)
        await work.sql("UPDATE generations SET created_at = created_at - 3000")
        redis.kill()
        rescuer = work.rescuer()
        await judge(rescuer, clock)
        assert (rescuer.counts.enqueued, rescuer.counts.offered_again) == (0, 0)
        redis.restart(keep_data=False)
        await rescuer.round()
        assert (rescuer.counts.enqueued, rescuer.counts.offered_again) == (3, 1)
        assert await work.queue.depth() == 4


def test_much_work_is_spread_over_three_seconds_and_little_is_not() -> None:
    assert max(spread(1) for _ in range(200)) <= 0.05
    many = [spread(1000) for _ in range(500)]
    assert SPREAD_SECONDS * 0.9 < max(many) <= SPREAD_SECONDS == 3.0
    assert min(many) < 0.3


async def test_a_round_with_nothing_to_do_is_two_statements(work: Work, clock: Clock) -> None:
    asked = await work.store("Hello")
    rescuer = work.rescuer()
    await judge(rescuer, clock)
    with counted() as statements:
        await rescuer.round()
    assert len(statements) == 2, statements
    assert (await work.read(asked)).state is State.QUEUED
