"""What is told ahead of its commit, where that can be done; nobody else sees it before."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from jobs.database import CommitUnknown, Database
from jobs.errors import GenerationActive, OutcomeUnknown
from jobs.generation import State
from jobs.ids import new_id
from jobs.store.claims import Claimed, claim
from jobs.store.intake import Accepted
from jobs.store.reads import read_generation
from tests.conformance.acts import LEASE, Acts, acting
from tests.services.held_commit import (
    HeldCommits,
    before_commits,
    held_commits,
    is_admission,
    refuse,
)


@pytest.fixture
async def sqlite_acts(sqlite_url: str) -> AsyncIterator[Acts]:
    """The same as `acts`, on SQLite alone."""
    async with acting(sqlite_url) as acts:
        yield acts


async def claim_ahead(acts: Acts, generation_id: str, told: list[Claimed]) -> Claimed | None:
    """The claim of this generation, of which `told` gets what is told ahead."""
    return await claim(acts.db, generation_id, 0, "wrk_1", lease_seconds=LEASE, ahead=told.append)


async def test_a_claim_is_told_ahead_by_sqlite_alone_and_is_the_same_then(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    told: list[Claimed] = []
    claimed = await claim_ahead(acts, one, told)
    assert claimed is not None
    assert told == ([claimed] if acts.db.dialect == "sqlite" else [])


async def test_what_can_not_be_had_is_not_told_ahead(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    told: list[Claimed] = []
    assert await claim_ahead(acts, one, told) is None
    await asyncio.sleep(0)
    assert told == []


async def test_nobody_else_sees_a_claim_that_is_told_ahead(
    sqlite_acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = sqlite_acts
    one = (await acts.accept()).generation.id
    told: list[Claimed] = []
    with held_commits(monkeypatch) as held:
        claiming = asyncio.create_task(claim_ahead(acts, one, told))
        assert await asyncio.to_thread(held.reached.wait, 5)
        await asyncio.sleep(0)
        assert [(ahead.id, ahead.attempt) for ahead in told] == [(one, 1)]
        assert (await read_generation(acts.db, "ann", one)).state is State.QUEUED
        assert not claiming.done()
        held.let_go()
        assert await claiming == told[0]
    assert (await read_generation(acts.db, "ann", one)).state is State.RUNNING


async def test_a_commit_that_fails_is_no_claim_though_it_was_told_ahead(
    sqlite_acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = sqlite_acts
    one = (await acts.accept()).generation.id
    told: list[Claimed] = []
    # It is tried once more, without being told, and that fails as well.
    with before_commits(monkeypatch, refuse), pytest.raises(CommitUnknown):
        await claim_ahead(acts, one, told)
    assert len(told) == 1
    assert (await read_generation(acts.db, "ann", one)).state is State.QUEUED
    assert await acts.claim(one) is not None


@pytest.fixture
async def elsewhere(sqlite_url: str, sqlite_acts: Acts) -> AsyncIterator[Acts]:
    """The same database as another process has it open."""
    async with Database.open(sqlite_url) as db:
        yield Acts(db)


async def test_what_is_to_be_stored_is_told_ahead_by_sqlite_alone_and_is_the_same_then(
    acts: Acts,
) -> None:
    told: list[Accepted] = []
    accepted = await acts.accept(ahead=told.append)
    if acts.db.dialect == "sqlite":
        [ahead] = told
        assert ahead is accepted
    else:
        assert told == []


async def test_a_refusal_is_not_told_ahead(sqlite_acts: Acts) -> None:
    acts, told = sqlite_acts, list[Accepted]()
    first = await acts.accept()
    with pytest.raises(GenerationActive):
        await acts.accept(
            conversation_id=first.generation.conversation_id, on_active="reject", ahead=told.append
        )
    await asyncio.sleep(0)
    assert told == []


async def test_a_claim_waits_for_what_was_told_ahead(
    sqlite_acts: Acts, elsewhere: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite_acts.accept()
    told: list[Accepted] = []
    with held_commits(monkeypatch, is_admission) as held:
        storing = asyncio.create_task(sqlite_acts.accept(ahead=told.append))
        assert await asyncio.to_thread(held.reached.wait, 5)
        await asyncio.sleep(0)
        [ahead] = told
        claiming = asyncio.create_task(elsewhere.claim(ahead.generation.id))
        # Some of SQLite's own steps of waiting.
        await asyncio.sleep(0.05)
        assert not claiming.done()
        held.let_go()
        claimed = await claiming
        assert claimed is not None
        assert (claimed.id, claimed.attempt) == (ahead.generation.id, 1)
        assert await storing is ahead


async def test_who_claims_what_was_told_ahead_and_then_failed_finds_nothing(
    sqlite_acts: Acts, elsewhere: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite_acts.accept()
    one, told = new_id("gen"), list[Accepted]()
    monkeypatch.setattr("jobs.store.intake._PAUSES_SECONDS", ())
    held = HeldCommits()

    def fail() -> None:
        held.wait()
        refuse()

    with before_commits(monkeypatch, fail, is_admission):
        storing = asyncio.create_task(sqlite_acts.accept(generation_id=one, ahead=told.append))
        assert await asyncio.to_thread(held.reached.wait, 5)
        claiming = asyncio.create_task(elsewhere.claim(one))
        await asyncio.sleep(0.05)
        assert not claiming.done()
        held.let_go()
        with pytest.raises(OutcomeUnknown):
            await storing
    assert await claiming is None
    assert [ahead.generation.id for ahead in told] == [one]
