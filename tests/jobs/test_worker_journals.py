"""Several workers of one machine, a journal each; and nothing that one left is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs import worker_journals
from jobs.errors import Unavailable
from jobs.finish import Ending, journal_record
from jobs.generation import Generation, State
from jobs.journal import Journal, JournalDamaged, JournalRecord, verify
from jobs.pending_ends import PendingEnds
from jobs.picking import WakingWorker
from jobs.publisher import open_publisher
from jobs.store.claims import claim, register_worker
from jobs.store.commits import Outcome, commit
from jobs.worker_journals import open_own_journal, replay_journals
from tests.jobs.at_work import Work, at_work
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def left_in(work: Work, place: Path, said: str) -> Generation:
    """A generation whose worker died after it had journalled this end of it."""
    generation = await work.store("Hello")
    await register_worker(work.db, "wrk_dead", 1)
    assert await claim(work.db, generation.id, 0, "wrk_dead", lease_seconds=10)
    outcome = Outcome(
        state=State.COMPLETED, text=said, timeline=b"t", last_seq=3, last_offset=len(said)
    )
    with Journal.open(place) as journal:
        journal.append(journal_record(generation.id, 1, outcome))
    return generation


async def replayed(work: Work, directory: Path) -> None:
    """The replay that a worker does at its start."""
    with open_own_journal(directory, "always") as journal:
        async with open_publisher(
            work.stream_log, flush_ms=15, ttl_seconds=60, lease_seconds=10
        ) as publisher:
            ending = Ending(work.db, publisher, work.signals, work.queue, journal)
            await replay_journals(ending, directory, "always", PendingEnds())


def test_each_gets_the_first_place_that_nobody_holds(tmp_path: Path) -> None:
    with (
        open_own_journal(tmp_path, "off") as first,
        open_own_journal(tmp_path, "off") as second,
    ):
        with open_own_journal(tmp_path, "off") as third:
            assert [one.path.parent for one in (first, second, third)] == [
                tmp_path,
                tmp_path / "2",
                tmp_path / "3",
            ]
        with open_own_journal(tmp_path, "off") as again:
            assert again.path.parent == tmp_path / "3"


def test_a_damaged_place_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"not a record\n")
    with pytest.raises(JournalDamaged), open_own_journal(tmp_path, "always"):
        pass


async def test_what_others_left_is_replayed_and_what_they_hold_is_not(
    work: Work, tmp_path: Path
) -> None:
    directory = tmp_path / "journals"
    mine = await left_in(work, directory, "mine")
    second = await left_in(work, directory / "2", "second")
    third = await left_in(work, directory / "3", "third")
    tenth = await left_in(work, directory / "10", "tenth")
    # A digit to Python, and no number: nobody's place.
    (directory / "²").mkdir()
    (directory / "²" / "journal.jsonl").touch()
    with Journal.open(directory / "3") as held:
        await replayed(work, directory)
        assert held.stats()["pending"] == 1
    for one, said in ((mine, "mine"), (second, "second"), (tenth, "tenth")):
        ended = await work.read(one)
        assert ended.output is not None
        assert (ended.state, ended.output.text) == (State.COMPLETED, said)
    assert (await work.read(third)).state is State.RUNNING


async def test_a_record_is_refused_by_the_fence_of_its_attempt(work: Work, tmp_path: Path) -> None:
    left = await left_in(work, tmp_path / "journals", "late")
    await work.sql("UPDATE generations SET attempt = 2")
    await replayed(work, tmp_path / "journals")
    assert (await work.read(left)).state is State.RUNNING
    with Journal.inspect(tmp_path / "journals") as view:
        assert view.outcome(f"{left.id}:1") == "refused"


async def test_a_damaged_neighbour_and_a_foreign_record_are_said_and_left(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "journals"
    (directory / "2").mkdir(parents=True)
    (directory / "2" / "journal.jsonl").write_bytes(b"not a record\n")
    foreign = JournalRecord(
        event_id="gen_x:1", generation_id="gen_x", attempt=1, written_at="now", payload={"a": 1}
    )
    with Journal.open(directory / "3") as journal:
        journal.append(foreign)
    left = await left_in(work, directory / "3", "kept")
    await replayed(work, directory)
    assert (await work.read(left)).state is State.COMPLETED
    assert verify(directory / "3").stats["pending"] == 1
    assert "a journal left behind can't be read" in caplog.text
    assert "a journal record can't be replayed" in caplog.text


async def test_while_the_database_is_away_the_replay_waits(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = await left_in(work, tmp_path / "journals", "kept")
    monkeypatch.setattr("jobs.worker_journals.AGAIN_SECONDS", 0.001)
    tries = 0
    is_back = asyncio.Event()

    async def sometimes(*arguments: Any, **named: Any) -> Any:
        nonlocal tries
        tries += 1
        if not is_back.is_set():
            raise Unavailable("the database")
        return await commit(*arguments, **named)

    monkeypatch.setattr("jobs.worker_journals.commit", sometimes)
    replaying = asyncio.create_task(replayed(work, tmp_path / "journals"))
    await eventually(lambda: tries > 3)
    assert (await work.read(left)).state is State.RUNNING
    is_back.set()
    await replaying
    assert (await work.read(left)).state is State.COMPLETED


async def test_while_the_database_takes_nothing_the_replay_waits_too(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = await left_in(work, tmp_path / "journals", "kept")
    monkeypatch.setattr("jobs.worker_journals.AGAIN_SECONDS", 0.001)
    await work.sql("ALTER TABLE turns RENAME TO turns_away")
    replaying = asyncio.create_task(replayed(work, tmp_path / "journals"))
    await eventually(lambda: "replaying the journal: waiting" in caplog.text)
    assert await work.sql("SELECT state FROM generations") == [("running",)]
    await work.sql("ALTER TABLE turns_away RENAME TO turns")
    await replaying
    assert (await work.read(left)).state is State.COMPLETED


@dataclass(slots=True)
class Replay:
    """A worker's replay that waits for the test, and how often the worker read the queue."""

    may_commit: asyncio.Event
    polls: int = 0


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    """The replays of the workers hired after this."""
    replay, poll = Replay(asyncio.Event()), WakingWorker._poll_iteration

    async def noted(self: WakingWorker) -> None:
        await poll(self)
        replay.polls += 1

    async def later(*arguments: Any, **named: Any) -> Any:
        await replay.may_commit.wait()
        return await commit(*arguments, **named)

    monkeypatch.setattr(WakingWorker, "_poll_iteration", noted)
    monkeypatch.setattr("jobs.worker_journals.commit", later)
    return replay


async def is_replayed_and_not_asked_for(work: Work, left: Generation, replay: Replay) -> None:
    """Hires a worker that is offered what its journal holds, and sees that it leaves it alone."""
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    await work.queue.enqueue(left.id, 1)
    other = await work.ask("Hello")
    await work.hire()
    # It does pick, and what it is not to run is there to be picked.
    assert (await work.ended(other)).state is State.COMPLETED
    await eventually(lambda: replay.polls >= 3)
    assert await work.sql(f"SELECT attempt FROM generations WHERE id = '{left.id}'") == [(1,)]
    replay.may_commit.set()
    ended = await work.ended(left)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert ended.output is not None
    assert ended.output.text == "kept"
    assert len(await work.requests()) == 1

    async def queue_is_empty() -> bool:
        return await work.queue.depth() == 0

    await eventually(queue_is_empty)


@pytest.mark.parametrize("place", ["", "2"])
async def test_an_answer_that_a_journal_holds_is_not_asked_for_again(
    work: Work, replay: Replay, place: str
) -> None:
    left = await left_in(work, Path(work.settings.relay_journal_dir) / place, "kept")
    await is_replayed_and_not_asked_for(work, left, replay)


async def test_nor_is_one_of_the_workers_own_journal_while_no_other_can_be_looked_for(
    work: Work, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, readable, existing = 0, asyncio.Event(), worker_journals._existing

    def sometimes(directory: Path) -> list[Path]:
        nonlocal tries
        tries += 1
        if readable.is_set():
            return existing(directory)
        raise OSError("the disk is gone")

    monkeypatch.setattr(worker_journals, "_existing", sometimes)
    monkeypatch.setattr("jobs.picking.LISTED_SECONDS", 0.05)
    directory = Path(work.settings.relay_journal_dir)
    left = await left_in(work, directory, "kept")
    beside = await left_in(work, directory / "2", "beside")
    await is_replayed_and_not_asked_for(work, left, replay)
    assert tries
    readable.set()
    assert (await work.ended(beside)).attempt == 1


async def test_what_a_journal_holds_and_nobody_can_replay_is_run_again(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    left = await left_in(work, Path(work.settings.relay_journal_dir) / "2", "kept")
    asked = await work.store("Hello")
    assert await claim(work.db, asked.id, 0, "wrk_dead", lease_seconds=10)
    event_id = f"{asked.id}:1"
    foreign = JournalRecord(
        event_id=event_id, generation_id=asked.id, attempt=1, written_at="now", payload={"a": 1}
    )
    with Journal.open(Path(work.settings.relay_journal_dir)) as journal:
        journal.append(foreign)
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    await work.queue.enqueue(asked.id, 1)
    await work.hire()
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert (await work.ended(left)).attempt == 1
    assert "a journal record can't be replayed" in caplog.text


async def test_a_worker_that_can_list_no_journal_picks_all_the_same(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> list[Path]:
        raise OSError("the disk is gone")

    monkeypatch.setattr("jobs.worker_journals._existing", fails)
    monkeypatch.setattr("jobs.picking.LISTED_SECONDS", 0.05)
    await work.hire()
    assert (await work.ended(await work.ask("Hello"))).state is State.COMPLETED
