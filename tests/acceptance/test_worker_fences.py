"""Only the newest attempt writes and commits, whoever else believes to run the generation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.attempt_log import AttemptLog
from jobs.events import Reset, Status
from jobs.generation import Generation, State
from jobs.store.claims import Claimed, claim, register_worker
from jobs.store.commits import Outcome, commit
from jobs.stream_log import Append
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.services import eventually

SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker yet."""
    async with at_work(redis_url, database_url, tmp_path) as work:
        yield work


async def take_over(work: Work, generation: Generation) -> Claimed:
    """Another worker claims it, as it may once the first one was silent for its lease."""
    await register_worker(work.db, "wrk_other", 1)
    claims: list[Claimed] = []

    async def is_taken() -> bool:
        # Between the two the first one may beat, and holds its lease then.
        await work.sql("UPDATE workers SET heartbeat_at = 0 WHERE id <> 'wrk_other'")
        claimed = await claim(work.db, generation.id, 1, "wrk_other", lease_seconds=10)
        claims.extend([] if claimed is None else [claimed])
        return bool(claims)

    await eventually(is_taken)
    return claims[0]


async def write_as_other(work: Work, claimed: Claimed, said: str) -> AttemptLog:
    """The other worker's log: reset, status and this text."""
    attempt_log = AttemptLog(claimed.id, claimed.attempt, lambda _log, _urgent: None)
    attempt_log.append("reset", Reset("worker_lost", claimed.attempt))
    attempt_log.append("status", Status(State.RUNNING, claimed.attempt))
    attempt_log.append_text(said)
    frames = attempt_log.unsent()
    await work.stream_log.append([Append(claimed.id, claimed.attempt, 1, frames, 60_000)])
    return attempt_log


async def commit_as_other(work: Work, attempt_log: AttemptLog) -> None:
    """The other worker ends it as completed."""
    end = attempt_log.close()
    committed = await commit(
        work.db,
        attempt_log.generation_id,
        attempt_log.attempt,
        Outcome(
            state=State.COMPLETED, text=attempt_log.text, timeline=attempt_log.timeline(),
            last_seq=end.seq, last_offset=end.offset,
        ),
    )  # fmt: skip
    assert committed is not None


async def is_stopped(work: Work) -> bool:
    return await work.upstreams() == 0


async def test_a_taken_over_attempt_is_stopped_by_the_log_and_leaves_no_turn(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-tokens-500-50")
    await work.wrote(asked)
    claimed = await take_over(work, asked)
    attempt_log = await write_as_other(work, claimed, "Mine.")
    await eventually(lambda: is_stopped(work), within=2.0)
    assert text_of(await work.log(asked)) == "Mine."
    assert {event.cursor.attempt for event in await work.log(asked)} == {2}
    await commit_as_other(work, attempt_log)
    assert (await work.turns(asked))[1:] == [("assistant", "Mine.", False)]


async def test_a_taken_over_attempt_is_stopped_by_the_beat_in_the_models_silence(
    work: Work,
) -> None:
    await work.hire()
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked)
    await take_over(work, asked)
    # Sooner than the model would be taken for dead.
    await eventually(lambda: is_stopped(work), within=10.0)
    assert (await work.read(asked)).state is State.RUNNING
    assert [role for role, _, _ in await work.turns(asked)] == ["user"]


async def test_of_three_workers_one_claims_each_generation(work: Work) -> None:
    for _ in range(3):
        await work.hire()
    asked = await asyncio.gather(
        *(work.ask(f"Hello {number}", model="demo-fast-words-5") for number in range(24))
    )
    for one in asked:
        ended = await work.ended(one, within=20)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert (await work.model.get("/stats")).json()["requests"] == 24


async def test_a_job_that_arq_runs_again_is_harmless(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-tokens-20-40")
    await work.wrote(asked)
    # arq knows this job no more, so that it is a new one to it.
    assert await work.queue.enqueue(asked.id, 0)
    assert await work.queue.enqueue(asked.id, 1)
    ended = await work.ended(asked)
    await work.queue.enqueue(asked.id, 0)
    await work.ended(await work.ask("Another"))
    assert (ended.state, (await work.read(asked)).attempt) == (State.COMPLETED, 1)
    assert await work.queue.depth() == 0
    assert len(await work.requests()) == 2


async def test_what_is_held_but_not_run_is_handed_over(work: Work) -> None:
    """A claim whose answer was lost is stored, and its worker knows nothing of it."""
    await work.hire()

    async def is_known() -> bool:
        return bool(await work.sql("SELECT id FROM workers"))

    await eventually(is_known)
    [(worker_id,)] = await work.sql("SELECT id FROM workers")
    asked = await work.store("Hello")
    assert await claim(work.db, asked.id, 0, worker_id, lease_seconds=10)
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert names_of(await work.told(asked))[0] == "reset"
    assert await work.sql("SELECT lost_attempts FROM generations") == [(0,)]


async def test_a_stopping_worker_lets_what_ends_in_time_end(work: Work) -> None:
    hired = await work.hire(grace=10)
    asked = await work.ask("Hello", model="demo-tokens-20-40")
    await work.wrote(asked)
    later = await work.store("Not here")
    hired.stop.set()
    await work.queue.enqueue(later.id, 0)
    await hired.dismiss()
    ended = await work.read(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert names_of(await work.log(asked))[-1] == "completed"
    assert (await work.read(later)).state is State.QUEUED
    # It was left in the queue for others.
    assert await work.queue.depth() == 1
    assert await work.sql("SELECT id FROM workers") == []


async def test_what_does_not_end_in_time_is_handed_over_and_goes_on_at_once(work: Work) -> None:
    first = await work.hire(grace=0.1)
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked, len("t1 t2 t3"))
    await work.hire()
    await first.dismiss(within=3)

    async def is_second() -> bool:
        return [event.cursor.attempt for event in await work.log(asked)][:1] == [2]

    await eventually(is_second, within=5.0)
    await work.wrote(asked, len("t1 t2 t3"))
    events = await work.log(asked)
    assert [event.name for event in events[:2]] == ["reset", "status"]
    assert events[0].data == {"reason": "handed_over", "attempt": 2}
    assert await work.sql("SELECT lost_attempts FROM generations") == [(0,)]
    await work.cancel(asked)
    assert (await work.ended(asked)).attempt == 2


async def test_one_that_may_not_begin_anew_ends_with_its_worker(work: Work) -> None:
    first = await work.hire(grace=0.1)
    begun = await work.ask("Hello", model=SILENT, restartable=False)
    await work.wrote(begun, len("t1 t2 t3"))
    unheard = await work.ask("Hello", model="demo-silent", restartable=False)

    async def are_open() -> bool:
        return await work.upstreams() == 2

    await eventually(are_open)
    await first.dismiss(within=3)
    ended = await work.read(begun)
    assert (ended.state, ended.attempt) == (State.FAILED, 1)
    assert ended.error is not None
    assert ended.error.code == "worker_lost"
    assert ended.output is not None
    assert ended.output.text == "t1 t2 t3"
    # Nobody has read a token of the other one yet.
    assert await work.sql("SELECT handed_over FROM generations WHERE id = :id", id=unheard.id) in (
        [(True,)],
        [(1,)],
    )


async def test_a_file_that_was_shown_can_not_be_taken_back_either(work: Work) -> None:
    first = await work.hire(grace=0)
    asked = await work.dictate(
        ("", ("write_file", {"path": "a.md", "content": "word " * 400})),
        model="demo-dictated-pace-20",
        restartable=False,
    )

    async def shows_a_file() -> bool:
        return "file_delta" in {one.name for one in await work.log(asked)}

    await eventually(shows_a_file)
    await first.dismiss(within=3)
    ended = await work.read(asked)
    assert (ended.state, ended.attempt, ended.output) == (State.FAILED, 1, None)
    assert ended.error is not None
    assert ended.error.code == "worker_lost"


async def test_a_cancelled_one_that_was_handed_over_keeps_what_was_shown(work: Work) -> None:
    first = await work.hire(grace=0.1)
    asked = await work.ask("Hello", model=SILENT)
    await work.wrote(asked, len("t1 t2 t3"))
    await first.dismiss(within=3)
    await work.cancel(asked)
    await work.hire()
    ended = await work.ended(asked)
    events = await work.told(asked)
    assert (ended.state, ended.attempt) == (State.CANCELLED, 2)
    assert ended.output is not None
    assert ended.output.text == text_of(events) == "t1 t2 t3"
    assert names_of(events) == ["reset", "status", "token", "cancelled"]
    assert len(await work.requests()) == 1
