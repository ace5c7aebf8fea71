"""A request becomes a stored generation or nothing is stored, whoever asks at the same time."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from freezegun import freeze_time
from sqlalchemy import text

from jobs.database import CommitUnknown, Database
from jobs.errors import (
    CascadeTooDeep,
    GenerationActive,
    IdempotencyKeyReused,
    InvalidRequest,
    JobsError,
    NotFound,
    OutcomeUnknown,
    OverBudget,
)
from jobs.generation import Kind, State, Usage
from jobs.ids import new_id
from jobs.store.intake import Accepted, Budget, NewGeneration, accept
from jobs.store.personas import delete_persona
from jobs.store.reads import read_conversation, read_generation
from tests.conformance.acts import Acts, change, outcome


async def stored(acts: Acts) -> int:
    rows = await acts.db.fetch(text("SELECT count(*) FROM generations"))
    count: int = rows[0][0]
    return count


def parted(results: Sequence[Accepted | BaseException]) -> tuple[list[Accepted], list[JobsError]]:
    accepted = [one for one in results if isinstance(one, Accepted)]
    refused = [one for one in results if isinstance(one, JobsError)]
    assert len(accepted) + len(refused) == len(results), results
    return accepted, refused


async def test_a_chat_opens_a_conversation_and_starts(acts: Acts) -> None:
    accepted = await acts.accept(text="hello there", expires=60)
    one = accepted.generation
    assert (accepted.starts, accepted.replayed, accepted.interrupted) == (True, False, ())
    assert (one.state, one.attempt, one.kind, one.output) == (State.QUEUED, 0, Kind.CHAT, None)
    assert one.expires_at > one.created_at
    assert one == await read_generation(acts.db, "ann", one.id)
    conversation = await read_conversation(acts.db, "ann", one.conversation_id)
    assert [(turn.role, turn.text) for turn in conversation.turns] == [("user", "hello there")]
    assert conversation.active_generation == one


async def test_a_generate_makes_its_persona_at_version_0(acts: Acts) -> None:
    accepted = await acts.accept(Kind.GENERATE, "A kind teacher\nwho listens", name="Ada")
    rows = await acts.db.fetch(text("SELECT id, name, brief, version, owner FROM personas"))
    one = (accepted.generation.persona_id, "Ada", "A kind teacher\nwho listens", 0, "ann")
    assert [tuple(row) for row in rows] == [one]


async def test_a_persona_without_a_name_takes_its_briefs_first_line(acts: Acts) -> None:
    await acts.accept(Kind.GENERATE, "\n A kind teacher \nwho listens")
    assert (await acts.db.fetch(text("SELECT name FROM personas")))[0][0] == "A kind teacher"


async def test_a_refine_of_a_persona_without_a_version_is_accepted(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, name="Ada")
    await acts.run(made, outcome("", State.FAILED))
    again = await acts.accept(Kind.REFINE, persona_id=made.generation.persona_id)
    assert again.generation.conversation_id == made.generation.conversation_id


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        (Kind.REFINE, {}, "persona_id"),
        (Kind.CHAT, {"persona_id": "per_x"}, "persona_id"),
        (Kind.GENERATE, {"persona_id": "per_x"}, "persona_id"),
        (Kind.GENERATE, {"conversation_id": "con_x"}, "conversation_id"),
        (Kind.CHAT, {"name": "Ada"}, "name"),
        (Kind.CHAT, {"text": "a\x00b"}, "input"),
        (Kind.CHAT, {"text": "a\ud800b"}, "input"),
        (Kind.GENERATE, {"name": "\udfff"}, "name"),
        (Kind.CHAT, {"idempotency_key": "k" * 256}, "idempotency_key"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_field(
    acts: Acts, kind: Kind, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await acts.accept(kind, **fields)
    assert refused.value.field == field
    assert await stored(acts) == 0


async def test_a_personas_conversation_is_continued_by_refine_alone(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "a"}))
    made = (await acts.db.fetch(text("SELECT conversation_id FROM personas")))[0][0]
    with pytest.raises(InvalidRequest, match="refine"):
        await acts.accept(conversation_id=made)
    other = await acts.chat(("hi", "hello"))
    with pytest.raises(InvalidRequest, match="not this persona"):
        await acts.accept(Kind.REFINE, persona_id=persona, conversation_id=other)
    again = await acts.accept(Kind.REFINE, persona_id=persona, conversation_id=made)
    assert again.generation.conversation_id == made


async def test_what_is_not_there_or_another_owners_is_not_found(acts: Acts) -> None:
    conversation = await acts.chat(("hi", "hello"))
    persona = await acts.persona(change({"a.md": "a"}))
    gone = await acts.persona(change({"a.md": "a"}))
    await delete_persona(acts.db, "ann", gone)
    cases: list[tuple[str, Kind, dict[str, Any]]] = [
        ("ann", Kind.CHAT, {"conversation_id": "con_x"}),
        ("bob", Kind.CHAT, {"conversation_id": conversation}),
        ("ann", Kind.REFINE, {"persona_id": "per_x"}),
        ("bob", Kind.REFINE, {"persona_id": persona}),
        ("ann", Kind.REFINE, {"persona_id": gone}),
    ]
    for owner, kind, fields in cases:
        with pytest.raises(NotFound):
            await acts.accept(kind, owner=owner, **fields)


async def test_the_same_key_and_hash_give_the_same_generation(acts: Acts) -> None:
    key: dict[str, Any] = {"idempotency_key": "k", "idempotency_hash": "h"}
    first = await acts.accept(**key)
    again = await acts.accept(**key)
    assert again == msgspec.structs.replace(first, replayed=True, starts=False)
    done = await acts.run(first)
    assert (await acts.accept(**key)).generation == done.generation
    assert not (await acts.accept(owner="bob", **key)).replayed
    with pytest.raises(IdempotencyKeyReused) as reused:
        await acts.accept(idempotency_key="k", idempotency_hash="other")
    assert reused.value.generation_id == first.generation.id


async def test_ten_requests_with_one_key_store_one_generation(acts: Acts) -> None:
    results = await asyncio.gather(
        *(
            acts.accept(Kind.GENERATE, name="Ada", idempotency_key="k", idempotency_hash="h")
            for _ in range(10)
        )
    )
    assert len({one.generation.id for one in results}) == 1
    assert sorted(one.replayed for one in results) == [False] + [True] * 9
    assert await stored(acts) == 1
    assert len(await acts.db.fetch(text("SELECT id FROM personas"))) == 1


async def test_ten_requests_for_one_conversation_start_one(acts: Acts) -> None:
    conversation = await acts.chat(("hi", "hello"))
    accepted, refused = parted(
        await asyncio.gather(
            *(acts.accept(conversation_id=conversation) for _ in range(10)),
            return_exceptions=True,
        )
    )
    assert len(accepted) == 1
    assert all(isinstance(one, GenerationActive) for one in refused)
    ids = {one.generation_id for one in refused if isinstance(one, GenerationActive)}
    assert ids == {accepted[0].generation.id}


async def test_ten_queued_at_once_wait_in_line_behind_one(acts: Acts) -> None:
    conversation = await acts.chat(("hi", "hello"))
    results = await asyncio.gather(
        *(acts.accept(conversation_id=conversation, on_active="queue") for _ in range(10))
    )
    assert sorted(one.starts for one in results) == [False] * 9 + [True]
    shown = await read_conversation(acts.db, "ann", conversation)
    assert shown.active_generation is not None
    assert len(shown.waiting) == 9


async def test_a_replay_comes_before_the_budget_and_the_active_one(acts: Acts) -> None:
    conversation = await acts.chat(("hi", "hello"))
    request: dict[str, Any] = {
        "conversation_id": conversation,
        "idempotency_key": "k",
        "idempotency_hash": "h",
        "budget": Budget(owner_generations=2),
    }
    first = await acts.accept(**request)
    assert (await acts.accept(**request)).generation == first.generation
    with pytest.raises(OverBudget):
        await acts.accept(**{**request, "idempotency_key": "other"})
    with pytest.raises(GenerationActive):
        await acts.accept(conversation_id=conversation)


async def test_replays_use_up_no_budget(acts: Acts) -> None:
    key: dict[str, Any] = {"idempotency_key": "k", "idempotency_hash": "h"}
    budget = Budget(owner_generations=2)
    for _ in range(5):
        await acts.accept(budget=budget, **key)
    await acts.accept(budget=budget)


@pytest.mark.parametrize("scope", ["owner", "total"])
async def test_a_budget_of_generations_is_exact_under_concurrency(acts: Acts, scope: str) -> None:
    budget = Budget(**{f"{scope}_generations": 4})
    owners = ["ann"] * 12 if scope == "owner" else ["ann", "bob", "eve"] * 4
    accepted, refused = parted(
        await asyncio.gather(
            *(acts.accept(owner=owner, budget=budget) for owner in owners), return_exceptions=True
        )
    )
    assert len(accepted) == 4
    for one in refused:
        assert isinstance(one, OverBudget)
        assert (one.scope, one.unit, one.limit) == (scope, "generations", 4)
        assert 58 <= one.retry_after <= 60
    assert await stored(acts) == 4


async def test_a_budget_of_generations_slides(acts: Acts) -> None:
    budget = Budget(owner_generations=2)
    await acts.accept(budget=budget)
    await acts.elapse(20.5)
    await acts.accept(budget=budget)
    with pytest.raises(OverBudget) as over:
        await acts.accept(budget=budget)
    assert over.value.retry_after in (39, 40)
    await acts.accept(owner="bob", budget=budget)
    await acts.elapse(40)
    await acts.accept(budget=budget)
    with pytest.raises(OverBudget):
        await acts.accept(budget=budget)


@pytest.mark.parametrize("scope", ["owner", "total"])
async def test_a_budget_of_tokens_counts_those_spent_in_the_last_minute(
    acts: Acts, scope: str
) -> None:
    budget = Budget(**{f"{scope}_tokens": 100})
    for tokens in (40, 59):
        one = await acts.accept(budget=budget)
        await acts.run(one, outcome(usage=Usage(tokens - 9, 9)))
        await acts.elapse(10)
    await acts.run(await acts.accept(budget=budget), outcome(usage=Usage(1, 0)))
    with pytest.raises(OverBudget) as over:
        await acts.accept(budget=budget)
    assert (over.value.scope, over.value.unit) == (scope, "tokens")
    assert 38 <= over.value.retry_after <= 40
    if scope == "owner":
        await acts.accept(owner="bob", budget=budget)
    await acts.elapse(40)
    await acts.accept(budget=budget)


async def test_the_largest_counts_of_tokens_use_a_budget_up_and_break_nothing(acts: Acts) -> None:
    largest = 2**31 - 1
    budget = Budget(owner_tokens=largest, total_tokens=largest)
    for _ in range(2):
        await acts.run(await acts.accept(), outcome(usage=Usage(largest, largest)))
    with pytest.raises(OverBudget):
        await acts.accept(budget=budget)
    await acts.elapse(60)
    await acts.accept(budget=budget)


async def test_work_caused_by_caused_work_is_refused(acts: Acts) -> None:
    first = await acts.accept()
    second = await acts.accept(caused_by=first.generation.id)
    with pytest.raises(CascadeTooDeep) as deep:
        await acts.accept(caused_by=second.generation.id)
    assert deep.value.depth == 2
    with pytest.raises(NotFound):
        await acts.accept(owner="bob", caused_by=first.generation.id)
    assert await stored(acts) == 2


async def test_an_id_that_is_taken_stores_nothing(acts: Acts) -> None:
    taken = (await acts.accept(generation_id=new_id("gen"))).generation.id
    with pytest.raises(JobsError):
        await acts.accept(generation_id=taken)
    assert await stored(acts) == 1
    assert len(await acts.db.fetch(text("SELECT id FROM conversations"))) == 1


async def test_an_outcome_is_not_looked_into_for_longer_than_who_asks_will_wait() -> None:
    tries = 0
    with freeze_time("2026-11-26 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:

        class Hanging:
            """Commits that are given up after ten seconds each."""

            async def write_at_once(self, *_: object, **__: object) -> Accepted:
                nonlocal tries
                tries += 1
                clock.tick(10)
                raise CommitUnknown

        new = NewGeneration(owner="ann", kind=Kind.CHAT, input="Hello", model="none")
        with pytest.raises(OutcomeUnknown):
            await accept(
                cast(Database, Hanging()),
                new,
                generation_id="gen_1",
                budget=Budget(),
                expires_seconds=60,
            )
    assert tries == 2
