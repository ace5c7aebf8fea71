"""What an application's kind writes when it completes is stored with the turn, or not at all."""

from typing import Any

import pytest

from jobs.database import CommitUnknown, Database
from jobs.generation import Kind, State
from jobs.kinds import NO_OTHERS, KindUnknown
from jobs.redis_link import open_redis
from jobs.retention import remove_old
from jobs.store.claims import claim
from jobs.store.commits import commit
from jobs.store.completing import CompletionFailed
from jobs.store.expiring import expire_overdue
from jobs.store.reads import read_conversation, read_generation
from tests.conformance.acts import LEASE, Acts, outcome
from tests.jobs.sample_kinds import KINDS, kept_rows, make_table

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def keeping(acts: Acts) -> Acts:
    """The store, with the application's table in the same database."""
    await make_table(acts.db)
    return acts


async def roles(acts: Acts, conversation_id: str) -> list[str]:
    """Whose turns a conversation has."""
    shown = await read_conversation(acts.db, "ann", conversation_id)
    return [turn.role for turn in shown.turns]


async def test_what_a_kind_writes_is_stored_with_the_turn(keeping: Acts) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    done = await commit(keeping.db, claimed.id, claimed.attempt, outcome("kept"), kinds=KINDS)
    assert done is not None
    assert done.generation.state is State.COMPLETED
    assert await kept_rows(keeping.db) == [(claimed.id, "ann", "kept")]
    assert await roles(keeping, claimed.conversation_id) == ["user", "assistant"]


@pytest.mark.parametrize("kind", ["breaking", "calling", "waiting", "ending", "nowhere"])
async def test_what_breaks_off_in_its_code_stores_neither(
    keeping: Acts, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.completing.MOST_SECONDS", 0.05)
    accepted = await keeping.accept(Kind(kind))
    claimed = await keeping.claimed(accepted.generation.id)
    with pytest.raises(CompletionFailed, match=f"on_completed of '{kind}' failed"):
        await commit(keeping.db, claimed.id, claimed.attempt, outcome("lost"), kinds=KINDS)
    assert await kept_rows(keeping.db) == []
    assert await roles(keeping, claimed.conversation_id) == ["user"]
    assert (await read_generation(keeping.db, "ann", claimed.id)).state is State.RUNNING


async def test_a_fenced_off_attempt_writes_nothing(keeping: Acts) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    old = await keeping.claimed(accepted.generation.id)
    await keeping.silence("wrk_1", LEASE + 1)
    await keeping.worker("wrk_2")
    new = await keeping.claimed(old.id, seen=1, worker="wrk_2")
    for late in (False, True):
        fenced = await commit(
            keeping.db, old.id, old.attempt, outcome("old"), kinds=KINDS, may_be_stored=late
        )
        assert fenced is None
    assert await kept_rows(keeping.db) == []
    assert await commit(keeping.db, new.id, new.attempt, outcome("new"), kinds=KINDS)
    assert await kept_rows(keeping.db) == [(new.id, "ann", "new")]


async def test_a_replay_of_what_was_stored_writes_once(keeping: Acts) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    for _ in range(3):
        done = await commit(
            keeping.db,
            claimed.id,
            claimed.attempt,
            outcome("once"),
            kinds=KINDS,
            may_be_stored=True,
        )
        assert done is not None
        assert done.generation.state is State.COMPLETED
    assert await kept_rows(keeping.db) == [(claimed.id, "ann", "once")]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "lost"])
async def test_a_commit_whose_outcome_was_not_told_writes_once(
    keeping: Acts, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    write, silent = Database.write, [True]

    async def silent_once(self: Database, work: Any) -> Any:
        if not silent:
            return await write(self, work)
        silent.clear()
        if stored:
            await write(self, work)
        raise CommitUnknown

    monkeypatch.setattr(Database, "write", silent_once)
    assert await commit(keeping.db, claimed.id, claimed.attempt, outcome("once"), kinds=KINDS)
    assert not silent
    assert await kept_rows(keeping.db) == [(claimed.id, "ann", "once")]


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
async def test_only_what_completes_is_written(keeping: Acts, state: State) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    # Also by who does not know the kind, such as a relay that ends what a lost worker left.
    done = await commit(keeping.db, claimed.id, claimed.attempt, outcome("half", state))
    assert done is not None
    assert done.generation.state is state
    assert await kept_rows(keeping.db) == []


async def test_who_does_not_know_a_kind_completes_none(keeping: Acts) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    with pytest.raises(KindUnknown, match="RELAY_KINDS"):
        await commit(keeping.db, claimed.id, claimed.attempt, outcome("lost"), kinds=NO_OTHERS)
    assert await roles(keeping, claimed.conversation_id) == ["user"]
    assert (await read_generation(keeping.db, "ann", claimed.id)).state is State.RUNNING


async def test_a_worker_claims_only_the_kinds_that_it_knows(acts: Acts) -> None:
    custom = (await acts.accept(Kind("keeping"))).generation
    chat = (await acts.accept()).generation
    known = frozenset(NO_OTHERS.names)
    for endpoint in (None, "http://model"):
        with pytest.raises(KindUnknown):
            await claim(
                acts.db,
                custom.id,
                0,
                "wrk_1",
                lease_seconds=LEASE,
                endpoint=endpoint,
                kinds=known,
            )
    assert (await read_generation(acts.db, "ann", custom.id)).state is State.QUEUED
    assert await claim(acts.db, chat.id, 0, "wrk_1", lease_seconds=LEASE, kinds=known)
    # Taken already: that is no matter of its kind.
    assert not await claim(acts.db, chat.id, 0, "wrk_1", lease_seconds=LEASE, kinds=known)
    told = frozenset(KINDS.names)
    claimed = await claim(acts.db, custom.id, 0, "wrk_1", lease_seconds=LEASE, kinds=told)
    assert claimed is not None
    assert claimed.kind == "keeping"
    assert not await claim(acts.db, custom.id, 0, "wrk_1", lease_seconds=LEASE, kinds=known)


async def test_one_that_nobody_took_says_that_its_kind_may_be_unknown(acts: Acts) -> None:
    accepted = await acts.accept(Kind("keeping"), expires=30)
    await acts.accept(expires=30)
    await acts.elapse(31)
    custom, chat = sorted(
        (one.generation for one in await expire_overdue(acts.db, 10)),
        key=lambda one: one.kind,
        reverse=True,
    )
    assert custom.id == accepted.generation.id
    assert custom.error is not None
    assert chat.error is not None
    assert custom.error.code == chat.error.code == "not_started"
    assert "worker that knows the kind 'keeping'" in custom.error.message
    assert "kind" not in chat.error.message


async def test_a_kind_stands_in_a_conversation_as_a_chat_does(keeping: Acts) -> None:
    conversation = await keeping.chat(("hello", "hi"))
    accepted = await keeping.accept(Kind("keeping"), "and?", conversation_id=conversation)
    claimed = await keeping.claimed(accepted.generation.id)
    assert claimed.conversation_id == conversation
    assert await commit(keeping.db, claimed.id, 1, outcome("so"), kinds=KINDS)
    assert await roles(keeping, conversation) == ["user", "assistant"] * 2
    again = await keeping.accept(text="thanks", conversation_id=conversation)
    assert again.generation.kind is Kind.CHAT


async def test_retention_deletes_it_and_leaves_the_applications_table(keeping: Acts) -> None:
    accepted = await keeping.accept(Kind("keeping"))
    claimed = await keeping.claimed(accepted.generation.id)
    assert await commit(keeping.db, claimed.id, 1, outcome("kept"), kinds=KINDS)
    await keeping.elapse(1000)
    async with open_redis(NOWHERE) as redis:
        assert (await remove_old(keeping.db, redis, 500)).generations == 1
    assert await roles(keeping, claimed.conversation_id) == []
    assert len(await kept_rows(keeping.db)) == 1
