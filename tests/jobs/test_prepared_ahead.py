"""An attempt is prepared while its claim goes to the disk, and counts, ends and tells after it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.breaker import Breakers, Watch
from jobs.errors import Unavailable
from jobs.generation import State
from jobs.runner import Runner
from jobs.store.claims import Claimed, claim
from jobs.tracing import NoTraces, Traces
from tests.jobs.asking_ahead import asked_ahead, eventually_answering
from tests.jobs.at_work import Work, at_work
from tests.services import eventually
from tests.services.held_commit import (
    before_commits,
    held_commits,
    refuse,
)


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


@pytest.mark.parametrize(
    "deadline", ["relay_first_token_timeout_seconds", "relay_generation_timeout_seconds"]
)
async def test_no_time_counts_before_the_claim_is_stored(
    work: Work, monkeypatch: pytest.MonkeyPatch, deadline: str
) -> None:
    with held_commits(monkeypatch) as held:
        await work.hire(**{deadline: 0.5})
        asked = await asked_ahead(work, held)
        # As a disk may that takes its time.
        await asyncio.sleep(0.7)
        held.let_go()
        ended = await work.ended(asked)
    assert (ended.state, ended.error) == (State.COMPLETED, None)
    assert await work.sql("SELECT * FROM breakers") == []


@pytest.mark.parametrize(
    ("deadline", "code"),
    [
        ("relay_first_token_timeout_seconds", "model_timeout"),
        ("relay_generation_timeout_seconds", "timeout"),
    ],
)
async def test_all_the_time_there_is_counts_from_then_on(
    work: Work, monkeypatch: pytest.MonkeyPatch, deadline: str, code: str
) -> None:
    with held_commits(monkeypatch) as held:
        await work.hire(**{deadline: 0.5})
        asked = await asked_ahead(work, held, "demo-fast-silent")
        await asyncio.sleep(0.7)
        held.let_go()
        began = time.monotonic()
        ended = await work.ended(asked)
        took = time.monotonic() - began
    assert ended.error is not None
    assert ended.error.code == code
    assert took >= 0.45


async def test_what_breaks_off_before_the_claim_is_stored_ends_an_attempt_that_began(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke = asyncio.Event()

    async def breaks(*_: object, **__: object) -> None:
        broke.set()
        raise LookupError

    monkeypatch.setattr("jobs.generate.converse", breaks)
    monkeypatch.setattr("jobs.breaker.NOTE_SECONDS", 0.05)
    with held_commits(monkeypatch) as held:
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-echo")
        assert await asyncio.to_thread(held.reached.wait, 5)
        async with asyncio.timeout(5):
            await broke.wait()
        # Longer than its end takes, if nothing holds that up.
        await asyncio.sleep(0.2)
        held.let_go()
        events = await work.told(asked)
    assert [(event.name, event.cursor.seq) for event in events] == [("status", 1), ("failed", 2)]
    # What a reader is given once the log is gone.
    assert await work.sql("SELECT last_seq FROM generations") == [(2,)]
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.error.code, ended.attempt) == ("internal_error", 1)


async def test_no_attempt_counts_before_its_claim_is_stored(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners: list[Runner] = []
    claimed_by = Runner._claim

    async def noting(runner: Runner, generation_id: str, seen: int) -> Claimed | None:
        runners.append(runner)
        return await claimed_by(runner, generation_id, seen)

    monkeypatch.setattr(Runner, "_claim", noting)
    with held_commits(monkeypatch) as held:
        await work.hire()
        asked = await asked_ahead(work, held)
        [runner] = runners
        assert (runner.running, dict(runner.measures.attempts)) == ({}, {})
        assert runner.knows(asked.id)
        held.let_go()
        await work.ended(asked)
    assert dict(runner.measures.attempts) == {"queued": 1}


async def test_a_cancellation_that_came_before_the_claim_was_stored_is_obeyed_unread(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled_by_then(*arguments: Any, **named: Any) -> Claimed | None:
        claimed = await claim(*arguments, **named)
        assert claimed is not None
        await work.cancel(asked, hint=False)
        return msgspec.structs.replace(claimed, cancel_requested=True)

    monkeypatch.setattr("jobs.runner.claim", cancelled_by_then)
    asked = await work.store("Hello", model="demo-fast-echo")
    with held_commits(monkeypatch) as held:
        await work.hire()
        await work.queue.enqueue(asked.id, 0)
        assert await asyncio.to_thread(held.reached.wait, 5)
        # The whole answer is there by then.

        async def is_asked() -> bool:
            return len(await work.requests()) == 1

        await eventually(is_asked)
        await asyncio.sleep(0.1)
        held.let_go()
        ended = await work.ended(asked)
    assert (ended.state, ended.output) == (State.CANCELLED, None)
    await eventually_answering(work, 0)


async def test_what_is_stored_is_what_runs_where_it_is_something_else_than_was_told(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[bool] = []
    watch = Breakers.watch

    def noting(breakers: Breakers, claimed: Claimed) -> Watch:
        watched.append(claimed.probe)
        return watch(breakers, claimed)

    async def as_probe(*arguments: Any, **named: Any) -> Claimed | None:
        claimed = await claim(*arguments, **named)
        return None if claimed is None else msgspec.structs.replace(claimed, probe=True)

    monkeypatch.setattr(Breakers, "watch", noting)
    monkeypatch.setattr("jobs.runner.claim", as_probe)
    await work.hire()
    ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert ended.state is State.COMPLETED
    assert watched[-1] is True


async def test_nothing_is_begun_for_a_claim_that_is_told_too_late(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Callable[[], None]] = []

    async def given_up(*arguments: Any, ahead: Callable[[Claimed], None], **named: Any) -> None:
        claimed = await claim(*arguments, ahead=None, **named)
        assert claimed is not None
        told.append(lambda: ahead(claimed))
        raise Unavailable("the database")

    monkeypatch.setattr("jobs.runner.claim", given_up)
    await work.hire()
    await work.ask("Hello", model="demo-fast-echo")
    await eventually(lambda: bool(told))
    # In a turn of its own, as from the database's thread.
    asyncio.get_running_loop().call_later(0.02, told[0])
    await asyncio.sleep(0.1)
    assert await work.requests() == []


async def test_where_spans_are_exported_only_the_model_is_asked_ahead(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes: list[str] = []

    @contextmanager
    def noting(traces: Traces, claimed: Claimed) -> Iterator[None]:
        scopes.append(claimed.id)
        yield

    @asynccontextmanager
    async def traced(_: str) -> AsyncIterator[Traces]:
        yield NoTraces()

    monkeypatch.setattr("jobs.worker.open_traces", traced)
    monkeypatch.setattr("jobs.runner.attempt_scope", noting)
    with held_commits(monkeypatch) as held:
        await work.hire()
        asked = await asked_ahead(work, held)
        await asyncio.sleep(0.05)
        assert scopes == []
        held.let_go()
        await work.ended(asked)
    assert scopes == [asked.id]
    assert len(await work.requests()) == 1


async def test_what_fails_while_it_is_prepared_for_no_claim_is_in_the_log(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("not so")

    with monkeypatch.context() as patch, before_commits(monkeypatch, refuse):
        patch.setattr("jobs.runner.generate", broken)
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-echo")
        await eventually(lambda: "preparing an attempt failed" in caplog.text)
        assert (await work.read(asked)).state is State.QUEUED
    assert "LookupError: not so" in caplog.text
    assert (await work.ended(asked)).attempt == 1
