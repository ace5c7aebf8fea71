"""A model is asked while its claim goes to the disk; nobody hears of it before it is there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs.generate import ask_ahead
from jobs.generation import Kind, State
from jobs.runner import Runner
from jobs.store.claims import Claimed, hand_over
from tests.jobs.asking_ahead import asked_ahead
from tests.jobs.at_work import Work, at_work
from tests.services import eventually
from tests.services.held_commit import (
    before_commits,
    held_commits,
    refuse,
    refusing_first,
)

SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


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


async def test_a_claim_that_is_stored_at_the_second_try_uses_what_was_asked_at_the_first(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before_commits(monkeypatch, refusing_first()):
        await work.hire()
        ended = await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert len(await work.requests()) == 1


async def test_a_claim_that_fails_closes_what_was_asked_and_leaves_the_work_to_all(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[bool] = []

    def fail() -> None:
        refused.append(True)
        refuse()

    with before_commits(monkeypatch, fail):
        await work.hire()
        asked = await work.ask("Hello", model=SILENT)
        # The second try, which nobody is told of, fails too.
        await eventually(lambda: len(refused) >= 2)

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
