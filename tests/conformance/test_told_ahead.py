"""A claim is told ahead of its commit where that can be done, and nobody else sees it before."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from jobs.database import CommitUnknown
from jobs.generation import State
from jobs.store.claims import Claimed, claim
from jobs.store.reads import read_generation
from tests.conformance.acts import LEASE, Acts, acting
from tests.services.held_commit import before_commits, held_commits, refuse


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
    with before_commits(monkeypatch, refuse):
        # It is tried once more, without being told, and that fails as well.
        monkeypatch.setattr("jobs.sqlite_thread.ThreadWork.alone", lambda *_: refuse())
        with pytest.raises(CommitUnknown):
            await claim_ahead(acts, one, told)
    monkeypatch.undo()
    assert len(told) == 1
    assert (await read_generation(acts.db, "ann", one)).state is State.QUEUED
    assert await acts.claim(one) is not None
