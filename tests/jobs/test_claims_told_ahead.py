"""A model is asked while its claim goes to the disk; nobody hears of it before it is there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.generate import ask_ahead
from jobs.generation import Generation, Kind, State
from jobs.runner import Runner
from jobs.sqlite_thread import ThreadWork
from jobs.store.claims import Claimed, claim, hand_over
from tests.jobs.at_work import Work, at_work
from tests.services import eventually
from tests.services.held_commit import HeldCommits, before_commits, held_commits, refuse

SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def asked_ahead(work: Work, held: HeldCommits, model: str = "demo-fast-echo") -> Generation:
    """A generation whose claim stands before its commit, and whose model is asked already."""
    asked = await work.ask("Hello", model=model)
    assert await asyncio.to_thread(held.reached.wait, 5)

    async def is_asked() -> bool:
        return len(await work.requests()) == 1

    await eventually(is_asked)
    return asked


async def test_the_model_is_asked_and_nobody_hears_of_it_until_the_claim_is_stored(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_commits(monkeypatch) as held:
        await work.hire()
        asked = await asked_ahead(work, held)
        # Longer than a flush waits for anything.
        await asyncio.sleep(0.1)
        assert await work.stream_log.tail(asked.id) == (0, 0)
        assert (await work.read(asked)).state is State.QUEUED
        held.let_go()
        ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert len(await work.requests()) == 1


async def test_what_fails_before_the_claim_is_stored_ends_after_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_commits(monkeypatch) as held:
        await work.hire()
        asked = await asked_ahead(work, held, "demo-fast-status-400")
        await asyncio.sleep(0.1)
        assert (await work.read(asked)).state is State.QUEUED
        held.let_go()
        ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 1)
    assert ended.error is not None
    assert ended.error.code == "model_error"


async def test_a_deadline_that_passes_before_the_claim_is_stored_ends_an_attempt_that_began(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.breaker.NOTE_SECONDS", 0.05)
    with held_commits(monkeypatch) as held:
        await work.hire(relay_first_token_timeout_seconds=0.2)
        asked = await asked_ahead(work, held, "demo-fast-silent")
        # Past the deadline the model is left.
        await eventually_answering(work, 1)
        await eventually_answering(work, 0)
        # Longer than its end waits for the note of it, which waits for the database.
        await asyncio.sleep(0.2)
        held.let_go()
        events = await work.told(asked)
    assert [(event.name, event.cursor.seq) for event in events] == [("status", 1), ("failed", 2)]
    # What a reader is given once the log is gone.
    assert await work.sql("SELECT last_seq FROM generations") == [(2,)]
    ended = await work.read(asked)
    assert ended.error is not None
    assert (ended.error.code, ended.attempt) == ("model_timeout", 1)


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


async def eventually_answering(work: Work, answers: int) -> None:
    """Returns once the model is giving so many answers."""

    async def is_so() -> bool:
        return await work.upstreams() == answers

    await eventually(is_so)


async def test_what_fails_while_it_is_prepared_for_no_claim_is_in_the_log(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("not so")

    with monkeypatch.context() as patch, before_commits(monkeypatch, refuse):
        patch.setattr("jobs.runner.generate", broken)
        refuse_claims_alone(patch)
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-echo")
        await eventually(lambda: "preparing an attempt failed" in caplog.text)
        assert (await work.read(asked)).state is State.QUEUED
    assert "LookupError: not so" in caplog.text
    assert (await work.ended(asked)).attempt == 1


def refuse_claims_alone(patch: pytest.MonkeyPatch) -> list[bool]:
    """Lets the second try of a claim fail too, which nobody is told of; it gets a word of each."""
    alone, refused = ThreadWork.alone, list[bool]()

    def refusing(thread: ThreadWork, statement: object, parameters: object) -> object:
        if isinstance(parameters, dict) and "at_endpoint" in parameters:
            refused.append(True)
            refuse()
        return alone(thread, statement, parameters)  # type: ignore[arg-type]

    patch.setattr(ThreadWork, "alone", refusing)
    return refused


async def test_a_claim_that_is_stored_at_the_second_try_uses_what_was_asked_at_the_first(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before_commits(monkeypatch, refuse):
        await work.hire()
        ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert len(await work.requests()) == 1


async def test_a_claim_that_fails_closes_what_was_asked_and_leaves_the_work_to_all(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, before_commits(monkeypatch, refuse):
        refused = refuse_claims_alone(patch)
        await work.hire()
        asked = await work.ask("Hello", model=SILENT)
        await eventually(lambda: bool(refused))

        async def is_closed() -> bool:
            return len(await work.requests()) >= 1 and await work.upstreams() == 0

        await eventually(is_closed)
        assert (await work.read(asked)).state is State.QUEUED
        assert await work.stream_log.tail(asked.id) == (0, 0)
    await work.wrote(asked)
    assert (await work.read(asked)).attempt == 1


async def test_a_worker_that_is_stopped_meanwhile_hands_it_over_and_closes_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed_before: list[bool] = []

    async def is_closed() -> bool:
        return await work.upstreams() == 0

    async def noting(*arguments: Any) -> bool:
        # It is not to wait for this, which may last.
        await eventually(is_closed, within=2)
        closed_before.append(True)
        return await hand_over(*arguments)

    monkeypatch.setattr("jobs.generate.hand_over", noting)
    with held_commits(monkeypatch) as held:
        hired = await work.hire()
        asked = await asked_ahead(work, held, SILENT)
        hired.stop.set()
        await asyncio.sleep(0.1)
        held.let_go()
        await hired.dismiss()
    assert closed_before == [True]
    assert (await work.read(asked)).attempt == 1
    await work.hire()
    await work.wrote(asked)
    assert (await work.read(asked)).attempt == 2


async def test_a_worker_that_is_stopping_asks_nothing_ahead(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners: list[Runner] = []
    claimed_by = Runner._claim

    async def stopping(runner: Runner, generation_id: str, seen: int) -> Claimed | None:
        runners.append(runner)
        runner._stopping = True
        return await claimed_by(runner, generation_id, seen)

    monkeypatch.setattr(Runner, "_claim", stopping)
    hired = await work.hire()
    asked = await work.ask("Hello", model=SILENT)

    async def is_handed_over() -> bool:
        [row] = await work.sql("SELECT attempt, handed_over FROM generations")
        return row == (1, True)

    await eventually(is_handed_over)
    assert len(runners) == 1
    await hired.dismiss()
    assert await work.requests() == []
    assert (await work.read(asked)).state is State.RUNNING


def claimed(**changed: object) -> Claimed:
    """The claim of a chat that opens its conversation."""
    fields: dict[str, object] = {
        "id": "gen_1", "owner": "ann", "kind": Kind.CHAT, "attempt": 1, "model": "m",
        "conversation_id": "con_1", "persona_id": None, "input": "Hello", "restartable": True,
        "cancel_requested": False, "lost_attempts": 0, "reset": None, "previous_worker_id": None,
        "created_at": 1, "started_at": 2, "expires_at": 3, "opens": True,
    }  # fmt: skip
    return Claimed(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"reset": "worker_lost", "attempt": 2},
        {"cancel_requested": True},
        {"opens": False},
        {"kind": Kind.GENERATE, "persona_id": "per_1"},
        {"kind": Kind.REFINE, "persona_id": "per_1", "opens": False},
        {"kind": Kind("own_kind")},
    ],
    ids=["begins anew", "cancelled", "goes on", "generate", "refine", "of an application"],
)
def test_only_a_chat_that_begins_is_asked_ahead(changed: dict[str, object]) -> None:
    asked: list[object] = []

    class Noting:
        """The parts of a workshop that are needed."""

        catalogue = None
        provider: "Noting"

        def ask_ahead(self, request: object) -> object:
            """Notes the request."""
            asked.append(request)
            return request

    workshop = Noting()
    workshop.provider = workshop
    assert ask_ahead(workshop, claimed(**changed)) is None  # type: ignore[arg-type]
    assert asked == []
    assert ask_ahead(workshop, claimed()) is not None  # type: ignore[arg-type]
    assert len(asked) == 1
