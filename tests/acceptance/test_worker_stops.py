"""A worker that is stopped while it can't reach what it needs keeps what it was paid for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.generation import Generation, State
from jobs.journal import Entry, Journal, JournalRecord, JournalWriteFailed
from jobs.worker import DRAIN_SECONDS
from tests.jobs.at_work import Work, at_work, text_of
from tests.services import DelayingProxy, Direction, eventually

GRACE = 2.5


@pytest.fixture
async def link(postgres_url: str) -> AsyncIterator[DelayingProxy]:
    """The worker's own link to the database."""
    async with DelayingProxy.before(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def work(redis_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over PostgreSQL, without a worker yet."""
    async with at_work(redis_url, postgres_url, tmp_path) as work:
        yield work


def journalled(work: Work) -> set[str]:
    """The generations whose outcome waits in the worker's journal."""
    with Journal.inspect(Path(work.settings.relay_journal_dir)) as view:
        return {record.generation_id for record in view.pending()}


@pytest.mark.parametrize("dead", [tuple(Direction), (Direction.DOWN,)], ids=["dead", "half"])
async def test_what_ends_within_the_grace_is_journalled_where_the_database_does_not_answer(
    work: Work, link: DelayingProxy, postgres_url: str, dead: tuple[Direction, ...]
) -> None:
    """At whatever step of its commit it is found when the database is given up."""
    hired = await work.hire(grace=GRACE, relay_database_url=link.url(postgres_url))
    lengths = (400, 30, 30, 30, 30, 30)
    long, *short = await asyncio.gather(
        *(work.ask("Hello", model=f"demo-tokens-{count}-60") for count in lengths)
    )
    await asyncio.gather(*(work.wrote(one) for one in (long, *short)))
    link.black_hole(*dead)
    hired.stop.set()
    await eventually(lambda: only_the_long_one_goes_on(work), within=GRACE)
    await hired.dismiss()
    assert link.counts.held
    assert journalled(work) == {one.id for one in short}
    # What was given up in the middle of its commit may have been stored all the same.
    await work.hire()
    for one in short:
        ended = await work.ended(one)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
        assert [role for role, _, _ in await work.turns(one)] == ["user", "assistant"]
    assert len(await work.requests()) == len(short) + 1
    assert await is_lost_and_not_ended(work, long)


@pytest.mark.parametrize("room", [True, False], ids=["room at last", "no room"])
async def test_what_neither_database_nor_journal_took_is_tried_once_more_or_named_as_lost(
    work: Work,
    link: DelayingProxy,
    postgres_url: str,
    room: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: Counter[str] = Counter()
    append = Journal.append

    def full(journal: Journal, record: JournalRecord) -> Entry:
        tries[record.generation_id] += 1
        if room and tries[record.generation_id] > 1:
            return append(journal, record)
        raise JournalWriteFailed(journal.path, OSError(28, "No space left on device"))

    monkeypatch.setattr(Journal, "append", full)
    monkeypatch.setattr("jobs.runner.AFTER_GRACE_SECONDS", 1.0)
    monkeypatch.setattr("jobs.worker.DATABASE_SECONDS", 0.5)
    hired = await work.hire(relay_database_url=link.url(postgres_url))
    asked = [await work.ask("Hello", model="demo-tokens-60-60") for _ in range(2)]
    await asyncio.gather(*(work.wrote(one) for one in asked))
    link.refuse()
    assert link.abort()
    await eventually(lambda: len(tries) == len(asked))
    await hired.dismiss()
    assert tries == {one.id: 2 for one in asked}
    assert journalled(work) == ({one.id for one in asked} if room else set())
    lost = [one for one in caplog.records if one.message == "an outcome is lost with its worker"]
    named = [one.__dict__["generation"] for one in lost]
    assert sorted(named) == ([] if room else sorted(one.id for one in asked))
    for said in lost:
        assert (said.levelname, said.__dict__["attempt"]) == ("ERROR", 1)
        reason = said.__dict__["reason"]
        assert "database is not reachable" in reason
        assert "No space left on device" in reason


async def test_what_had_ended_is_told_to_a_redis_that_is_back_only_while_the_worker_stops(
    work: Work, redis_url: str
) -> None:
    async with DelayingProxy.before(redis_url) as link:
        hired = await work.hire(grace=GRACE, relay_redis_url=link.url(redis_url))
        asked = await work.ask("Hello", model="demo-words-40-pace-20")
        await work.wrote(asked)
        link.refuse()
        assert link.abort()
        ended = await work.ended(asked)
        assert ended.output is not None
        told = await work.log(asked)
        assert told[-1].name == "token"
        assert isinstance(ended.output.text, str)
        assert text_of(told) == ended.output.text[: len(text_of(told))] != ended.output.text
        asyncio.get_running_loop().call_later(DRAIN_SECONDS / 6, link.heal)
        await hired.dismiss()
    told = await work.log(asked)
    assert text_of(told) == ended.output.text
    assert told[-1].name == "completed"


async def only_the_long_one_goes_on(work: Work) -> bool:
    return await work.upstreams() == 1


async def is_lost_and_not_ended(work: Work, generation: Generation) -> bool:
    """Nobody could hand it over, so that it begins anew when its lease has run out."""
    now = await work.read(generation)
    return (now.state, now.attempt) == (State.RUNNING, 1)
