"""The end of an attempt: committed once or refused by the fence, and never left without an end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.database import CommitUnknown
from jobs.errors import Unavailable
from jobs.finish import TRIES_OF_ONE, Ending, journal_record, journalled_outcome, unstorable
from jobs.generation import Failure, Generation, Kind, SkillChoice, State, Usage
from jobs.journal import Journal, JournalRecord, JournalWriteFailed
from jobs.publisher import open_publisher
from jobs.store import commits
from jobs.store.claims import Claimed, claim, register_worker
from jobs.store.commits import Outcome, PersonaChange
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.jobs.log_rig import started
from tests.services import PostgresServer, eventually

OUTCOME = Outcome(
    state=State.COMPLETED,
    text="ChidÉ 🎉",
    timeline=b"\x00\xff timeline",
    last_seq=3,
    last_offset=7,
    finish_reason="stop",
    usage=Usage(5, 7),
    skills=(SkillChoice("x", None, 0.25),),
    change=PersonaChange(
        written={"a.md": "É"}, deleted=("b.md",), skills=("s",), derived={"card": {"n": 1}}
    ),
)


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over each of the databases, without a worker."""
    async with at_work(redis_url, database_url, tmp_path) as work:
        yield work


@pytest.fixture
async def ending(work: Work) -> AsyncIterator[Ending]:
    """What ends generations, with its own journal."""
    with Journal.open(Path(work.settings.relay_journal_dir)) as journal:
        async with open_publisher(
            work.stream_log, flush_ms=15, ttl_seconds=60, lease_seconds=10
        ) as publisher:
            yield Ending(work.db, publisher, work.signals, work.queue, journal)


async def claimed(work: Work) -> tuple[Generation, Claimed]:
    """A generation that `wrk_1` has claimed."""
    generation = await work.store("Hello")
    await register_worker(work.db, "wrk_1", 1)
    mine = await claim(work.db, generation.id, 0, "wrk_1", lease_seconds=10)
    assert mine is not None
    return generation, mine


def completed(text: str, **fields: Any) -> Outcome:
    """An outcome with this text."""
    return msgspec.structs.replace(
        OUTCOME, text=text, last_offset=len(text), change=None, skills=(), **fields
    )


async def test_a_commit_that_the_fence_refuses_tells_nobody_and_leaves_no_turn(
    work: Work, ending: Ending
) -> None:
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("late")
    await work.sql("UPDATE generations SET attempt = 2")
    assert not await ending.finish(attempt_log, completed("late"))
    await ending.publisher.drain(1)
    assert "completed" not in names_of(await work.log(generation))
    assert [role for role, _, _ in await work.turns(generation)] == ["user"]
    assert (await work.read(generation)).state is State.RUNNING


async def test_a_database_that_takes_no_end_until_it_is_mended_loses_no_answer(
    work: Work, ending: Ending, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("kept")
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr("jobs.finish.REFUSED_LAST_SECONDS", 0.02)
    tries = 0

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal tries
        tries += 1
        return await commits.commit(*arguments, **named)

    monkeypatch.setattr("jobs.finish.commit", counted)
    await work.sql("ALTER TABLE turns RENAME TO turns_away")
    finishing = asyncio.create_task(ending.finish(attempt_log, completed("kept")))
    # Many more than an outcome is tried that is refused for itself.
    await eventually(lambda: tries > 3 * TRIES_OF_ONE)
    assert ending.journal.stats()["pending"] == 1
    assert ending.measures.kept == {"refused": 1}
    [said] = [one for one in caplog.records if "kept in the journal" in one.message]
    assert "does not take it" in vars(said)["reason"]
    await work.sql("ALTER TABLE turns_away RENAME TO turns")
    assert await finishing
    ended = await work.read(generation)
    assert ended.output is not None
    assert (ended.state, ended.output.text) == (State.COMPLETED, "kept")
    assert names_of(await work.told(generation))[-1] == "completed"
    assert ending.journal.outcome(f"{generation.id}:1") == "replayed"


async def test_an_outcome_that_the_database_refuses_for_itself_ends_as_failed(
    work: Work,
    ending: Ending,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("kept")
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.001)
    real = commits._keep_answer

    async def refusing(connection: Any, row: Any, outcome: Outcome) -> Any:
        if outcome.state is State.COMPLETED:
            raise ValueError("no column can hold this")
        return await real(connection, row, outcome)

    monkeypatch.setattr(commits, "_keep_answer", refusing)
    assert await ending.finish(attempt_log, completed("kept"))
    ended = await work.read(generation)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "internal_error")
    assert ended.output is not None
    assert ended.output.text == "kept" == text_of(await work.told(generation))
    assert "no column can hold this" in caplog.text
    assert ending.measures.kept == {"refused": 1, "unstorable": 1}
    # What the model was paid for is there to be looked at, and is what nothing replays.
    [record] = ending.journal.pending()
    assert journalled_outcome(record) == completed("kept")
    assert await commits.commit(work.db, generation.id, 1, completed("kept")) is None
    stored = await commits.commit(work.db, generation.id, 1, completed("kept"), may_be_stored=True)
    assert stored is None


async def test_a_text_that_the_database_can_never_hold_ends_without_it(
    redis_url: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres_server.sql("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1'")
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.001)
    try:
        async with at_work(redis_url, postgres_server.url("narrow"), tmp_path) as work:
            await work.hire()
            asked = await work.dictate("ChidÉ 🎉", kind=Kind.CHAT)
            ended = await work.ended(asked)
            told = await work.told(asked)
    finally:
        postgres_server.drop_database("narrow")
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "internal_error")
    assert ended.output is None
    assert (text_of(told), told[-1].name) == ("ChidÉ 🎉", "failed")


async def test_an_end_that_was_stored_unnoticed_is_known_as_this_attempts(
    work: Work, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("kept")
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.001)
    answers_lost = 0

    async def stored_untold(*arguments: Any, **named: Any) -> Any:
        nonlocal answers_lost
        stored = await commits.commit(*arguments, **named)
        if not answers_lost:
            answers_lost += 1
            raise CommitUnknown
        return stored

    monkeypatch.setattr("jobs.finish.commit", stored_untold)
    assert await ending.finish(attempt_log, completed("kept"))
    assert answers_lost == 1
    assert ending.measures.fenced == 0
    assert ending.journal.outcome(f"{generation.id}:1") == "replayed"
    assert names_of(await work.told(generation))[-1] == "completed"


async def test_one_that_is_stopped_before_its_commit_is_known_leaves_its_outcome_in_the_journal(
    work: Work, ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cancelled, and while its record is being written too."""
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("kept")
    asked, writing = asyncio.Event(), asyncio.Event()
    loop, append = asyncio.get_running_loop(), ending.journal.append
    may_write = threading.Event()

    async def unanswered(*_: Any, **__: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    def slowly(record: JournalRecord) -> Any:
        loop.call_soon_threadsafe(writing.set)
        assert may_write.wait(10)
        return append(record)

    monkeypatch.setattr("jobs.finish.commit", unanswered)
    monkeypatch.setattr(ending.journal, "append", slowly)
    finishing = asyncio.create_task(ending.finish(attempt_log, completed("kept")))
    async with asyncio.timeout(10):
        await asked.wait()
        finishing.cancel()
        await writing.wait()
    finishing.cancel()
    await asyncio.sleep(0)
    may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    [record] = ending.journal.pending()
    assert journalled_outcome(record) == completed("kept")


async def test_a_journal_that_is_full_keeps_the_end_in_memory(
    work: Work,
    ending: Ending,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    generation, mine = await claimed(work)
    attempt_log = started(ending.publisher, generation.id, mine.attempt)
    attempt_log.append_text("kept")

    def full(*_: Any) -> None:
        raise JournalWriteFailed(ending.journal.path, OSError(28, "No space left on device"))

    tries = 0
    real = commits.commit

    async def away_at_first(*arguments: Any, **named: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("the database")
        return await real(*arguments, **named)

    monkeypatch.setattr(ending.journal, "append", full)
    monkeypatch.setattr("jobs.finish.commit", away_at_first)
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.001)
    assert await ending.finish(attempt_log, completed("kept"))
    assert (await work.read(generation)).state is State.COMPLETED
    assert "it is kept in memory" in caplog.text
    assert ending.journal.stats()["total"] == 0


def test_an_outcome_survives_the_journal() -> None:
    record = journal_record("gen_1", 2, OUTCOME)
    assert (record.event_id, record.generation_id, record.attempt) == ("gen_1:2", "gen_1", 2)
    assert journalled_outcome(record) == OUTCOME
    assert journalled_outcome(journal_record("gen_1", 2, unstorable(OUTCOME))) == Outcome(
        state=State.FAILED,
        text=OUTCOME.text,
        timeline=OUTCOME.timeline,
        last_seq=3,
        last_offset=7,
        error=Failure("internal_error", "the result could not be stored", True),
    )
