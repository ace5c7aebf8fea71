"""A conversation's line: one is active, the others wait in order, each end promotes the next."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.generation import State
from jobs.ids import new_id
from jobs.store.commits import request_cancel
from jobs.store.expiring import expire_overdue
from jobs.store.intake import Accepted
from jobs.store.leftovers import promote_waiting
from jobs.store.line import lock_line
from jobs.store.reads import read_conversation, read_generation
from tests.conformance.acts import Acts, outcome
from tests.services import eventually


async def line(acts: Acts, length: int) -> list[Accepted]:
    """An active generation of one conversation, and those that wait behind it."""
    made = [await acts.accept(text="0")]
    for number in range(1, length):
        made.append(await queue(acts, made[0], str(number)))
    return made


async def queue(acts: Acts, behind: Accepted, said: str, expires: float = 60) -> Accepted:
    conversation = behind.generation.conversation_id
    return await acts.accept(
        text=said, conversation_id=conversation, on_active="queue", expires=expires
    )


async def states(acts: Acts, made: list[Accepted]) -> list[State]:
    return [(await read_generation(acts.db, None, one.generation.id)).state for one in made]


async def said(acts: Acts, one: Accepted) -> list[tuple[str, str]]:
    shown = await read_conversation(acts.db, "ann", one.generation.conversation_id)
    return [(turn.role, turn.text) for turn in shown.turns]


async def test_waiting_ones_start_in_order_and_their_turns_enter_then(acts: Acts) -> None:
    made = await line(acts, 4)
    assert [one.starts for one in made] == [True, False, False, False]
    assert await said(acts, made[0]) == [("user", "0")]
    for number, one in enumerate(made):
        done = await acts.run(one, outcome(f"re {number}"))
        following = made[number + 1].generation.id if number < 3 else None
        assert done.promoted == following
    turns = [
        (role, f"{re}{n}") for n in range(4) for role, re in (("user", ""), ("assistant", "re "))
    ]
    assert await said(acts, made[0]) == turns


async def test_waiting_ones_of_one_millisecond_start_in_the_order_of_their_ids(acts: Acts) -> None:
    made = await line(acts, 5)
    await acts.db.write_one(text("UPDATE generations SET created_at = 1000"))
    order = []
    promoted: str | None = made[0].generation.id
    while promoted is not None:
        order.append(promoted)
        promoted = (await acts.commit(await acts.claimed(promoted))).promoted
    assert order == sorted(one.generation.id for one in made)


async def test_a_waiting_one_may_not_be_claimed(acts: Acts) -> None:
    made = await line(acts, 2)
    assert await acts.claim(made[1].generation.id) is None
    await acts.run(made[0])
    assert await acts.claim(made[1].generation.id) is not None


async def test_the_overdue_are_passed_over_and_left_to_expire(acts: Acts) -> None:
    first = await acts.accept(expires=60)
    claimed = await acts.claimed(first.generation.id)
    overdue = await queue(acts, first, "late", expires=5)
    timely = await queue(acts, first, "in time", expires=60)
    await acts.elapse(10)
    assert (await acts.commit(claimed)).promoted == timely.generation.id
    assert [one.generation.id for one in await expire_overdue(acts.db, 10)] == [
        overdue.generation.id
    ]
    assert await states(acts, [first, overdue, timely]) == [
        State.COMPLETED, State.EXPIRED, State.QUEUED,
    ]  # fmt: skip


async def test_the_end_of_a_waiting_one_promotes_nobody(acts: Acts) -> None:
    made = await line(acts, 3)
    outcomes = await request_cancel(acts.db, "ann", made[1].generation.id)
    assert (outcomes.ended_now, outcomes.promoted) == (True, None)
    assert outcomes.generation.state is State.CANCELLED
    assert (await acts.run(made[0])).promoted == made[2].generation.id
    assert ("user", "1") not in await said(acts, made[0])


async def test_the_end_of_a_queued_active_one_promotes_the_next(acts: Acts) -> None:
    made = await line(acts, 3)
    done = await request_cancel(acts.db, "ann", made[0].generation.id)
    assert (done.ended_now, done.promoted) == (True, made[1].generation.id)
    done = await request_cancel(acts.db, "ann", made[1].generation.id)
    assert (done.ended_now, done.promoted) == (True, made[2].generation.id)
    assert await said(acts, made[0]) == [("user", "0"), ("user", "1"), ("user", "2")]


async def test_an_interrupt_cancels_the_queued_and_starts_at_once(acts: Acts) -> None:
    made = await line(acts, 3)
    urgent = await acts.accept(
        text="now", conversation_id=made[0].generation.conversation_id, on_active="interrupt"
    )
    assert urgent.starts
    assert set(urgent.interrupted) == {one.generation.id for one in made}
    assert await states(acts, made) == [State.CANCELLED] * 3


async def test_an_interrupt_waits_for_the_running_one_and_keeps_its_text(acts: Acts) -> None:
    made = await line(acts, 3)
    claimed = await acts.claimed(made[0].generation.id)
    urgent = await acts.accept(
        text="now", conversation_id=claimed.conversation_id, on_active="interrupt"
    )
    assert not urgent.starts
    assert set(urgent.interrupted) == {one.generation.id for one in made}
    assert await states(acts, made) == [State.RUNNING, State.CANCELLED, State.CANCELLED]
    done = await acts.commit(claimed, outcome("half an ans", State.CANCELLED))
    assert done.promoted == urgent.generation.id
    assert await said(acts, urgent) == [
        ("user", "0"), ("assistant", "half an ans"), ("user", "now"),
    ]  # fmt: skip


async def test_ten_interrupts_at_once_leave_one(acts: Acts) -> None:
    first = await acts.accept()
    claimed = await acts.claimed(first.generation.id)
    results = await asyncio.gather(
        *(
            acts.accept(conversation_id=claimed.conversation_id, on_active="interrupt")
            for _ in range(10)
        )
    )
    left = [
        one
        for one, state in zip(results, await states(acts, list(results)), strict=True)
        if state is State.QUEUED
    ]
    assert len(left) == 1
    done = await acts.commit(claimed, outcome("", State.CANCELLED))
    assert done.promoted == left[0].generation.id


async def test_an_interrupt_and_the_commit_at_once_leave_one_active(acts: Acts) -> None:
    for _ in range(10):
        first = await acts.accept()
        claimed = await acts.claimed(first.generation.id)
        conversation = claimed.conversation_id
        done, urgent = await asyncio.gather(
            acts.commit(claimed),
            acts.accept(conversation_id=conversation, on_active="interrupt"),
        )
        assert urgent.starts != (done.promoted == urgent.generation.id)
        shown = await read_conversation(acts.db, "ann", conversation)
        assert shown.active_generation is not None
        assert shown.active_generation.id == urgent.generation.id
        assert [turn.role for turn in shown.turns] == ["user", "assistant", "user"]


async def test_a_claim_and_an_interrupt_at_once_leave_no_queued_one_running(acts: Acts) -> None:
    for _ in range(10):
        first = await acts.accept()
        claimed, urgent = await asyncio.gather(
            acts.claim(first.generation.id),
            acts.accept(conversation_id=first.generation.conversation_id, on_active="interrupt"),
        )
        state = (await states(acts, [first]))[0]
        assert state is (State.CANCELLED if claimed is None else State.RUNNING)
        assert urgent.starts is (claimed is None)
        assert urgent.interrupted == (first.generation.id,)


@pytest.mark.parametrize("end", ["commit", "cancellation"])
async def test_an_end_waits_for_whoever_changes_its_line(postgres_url: str, end: str) -> None:
    """Else it would promote the one that is being cancelled, and nobody would follow it."""
    async with Database.open(postgres_url) as db:
        acts = Acts(db)
        await acts.worker("wrk_1")
        first = await acts.accept()
        line = first.generation.conversation_id
        cancelled, next_one = [
            (await acts.accept(on_active="queue", conversation_id=line)).generation.id
            for _ in range(2)
        ]
        claimed = await acts.claimed(first.generation.id) if end == "commit" else None
        locked, released = asyncio.Event(), asyncio.Event()

        async def cancel(connection: AsyncConnection) -> None:
            await lock_line(connection, conversation_id=line)
            locked.set()
            await released.wait()
            await connection.execute(
                text("UPDATE generations SET state = 'cancelled' WHERE id = :id"),
                {"id": cancelled},
            )

        async def promoted_by_end() -> str | None:
            if claimed is not None:
                return (await acts.commit(claimed)).promoted
            return (await request_cancel(db, "ann", first.generation.id)).promoted

        async def waits() -> bool:
            waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
            return len(await db.fetch(text(waiting))) == 1

        cancelling = asyncio.create_task(db.write(cancel))
        await locked.wait()
        ending = asyncio.create_task(promoted_by_end())
        try:
            await eventually(waits)
        finally:
            released.set()
            await cancelling
        assert await ending == next_one


async def test_the_database_holds_one_active_generation_a_conversation(acts: Acts) -> None:
    await line(acts, 2)
    with pytest.raises(Exception, match=r"active|UNIQUE"):
        await acts.db.write_one(text("UPDATE generations SET active = true"))


async def test_a_line_without_an_active_one_is_promoted(acts: Acts) -> None:
    made = await line(acts, 2)
    assert await promote_waiting(acts.db, 10) == []
    await acts.db.write_one(
        text("UPDATE generations SET active = false, state = 'failed' WHERE id = :id"),
        {"id": made[0].generation.id},
    )
    assert await promote_waiting(acts.db, 10) == [made[1].generation.id]
    assert await promote_waiting(acts.db, 10) == []
    assert await acts.claim(made[1].generation.id) is not None


async def test_ids_of_one_process_are_made_in_order() -> None:
    ids = [new_id("gen") for _ in range(500)]
    assert ids == sorted(ids)
