"""What nobody is working on is found, each kind by its own question, and no more than asked for."""

import asyncio

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.generation import State
from jobs.store.claims import hand_over
from jobs.store.expiring import expire_overdue
from jobs.store.leftovers import (
    Leftovers,
    find_lost,
    find_unenqueued,
    look_for_leftovers,
    promote_waiting,
)
from jobs.store.line import lock_line
from jobs.store.reads import read_replay_source
from tests.conformance.acts import LEASE, Acts


async def test_the_lost_are_the_handed_over_and_those_of_silent_workers(acts: Acts) -> None:
    running, given, silent, unknown = [
        (await acts.accept(restartable=number != 2)).generation.id for number in range(4)
    ]
    await acts.claimed(running)
    await acts.claimed(given)
    await acts.claimed(silent, 0, await acts.worker("wrk_2"))
    await acts.claimed(unknown, 0, "wrk_never_registered")
    await hand_over(acts.db, given, 1)
    await acts.silence("wrk_2", LEASE + 1)
    lost = await find_lost(acts.db, LEASE, 10)
    assert [(one.id, one.attempt, one.handed_over, one.restartable) for one in lost] == [
        (given, 1, True, True),
        (silent, 1, False, False),
        (unknown, 1, False, True),
    ]
    assert [one.id for one in await find_lost(acts.db, LEASE, 2)] == [given, silent]
    assert [one.id for one in await find_lost(acts.db, LEASE * 10, 10)] == [given, unknown]


async def looked(acts: Acts) -> Leftovers:
    return await look_for_leftovers(acts.db, lease_seconds=LEASE, older_than_seconds=5)


async def test_a_look_tells_of_each_sort_whether_there_is_one(acts: Acts) -> None:
    nothing = Leftovers(overdue=False, stuck=False, unenqueued=False, lost=False)
    active, running = await acts.accept(expires=100), await acts.accept()
    conversation = active.generation.conversation_id
    await acts.accept(conversation_id=conversation, on_active="queue", expires=100)
    await acts.claimed(running.generation.id)
    assert await looked(acts) == nothing
    await acts.elapse(10)
    await acts.worker("wrk_1")
    assert await looked(acts) == msgspec.structs.replace(nothing, unenqueued=True)
    await acts.claimed(active.generation.id)
    await acts.silence("wrk_1", LEASE + 1)
    assert await looked(acts) == msgspec.structs.replace(nothing, lost=True)
    await acts.worker("wrk_1")
    await acts.db.write_one(
        text("UPDATE generations SET active = false, state = 'failed' WHERE id = :id"),
        {"id": active.generation.id},
    )
    assert await looked(acts) == msgspec.structs.replace(nothing, stuck=True)
    await acts.elapse(100)
    await acts.worker("wrk_1")
    assert await looked(acts) == msgspec.structs.replace(nothing, overdue=True)
    await expire_overdue(acts.db, 10)
    assert await promote_waiting(acts.db, 10) == []
    assert await looked(acts) == nothing


async def test_a_lost_one_tells_how_often_it_was_lost(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    for attempt in (1, 2):
        await acts.silence("wrk_1", LEASE + 1)
        lost = await find_lost(acts.db, LEASE, 10)
        assert [(each.attempt, each.lost_attempts) for each in lost] == [(attempt, attempt - 1)]
        await acts.worker("wrk_1")
        await acts.silence("wrk_1", LEASE + 1)
        await acts.claimed(one, attempt)


async def test_a_lost_one_is_late_once_all_its_attempts_and_waits_must_be_over(acts: Acts) -> None:
    first, second = [(await acts.accept()).generation.id for _ in range(2)]
    await acts.claimed(first)
    await acts.claimed(second)
    await hand_over(acts.db, first, 1)
    await hand_over(acts.db, second, 1)
    await acts.claimed(second, 1)
    await hand_over(acts.db, second, 2)

    async def late(seconds: float | None) -> list[str]:
        lost = await find_lost(acts.db, LEASE, 10, attempt_seconds=seconds)
        assert len(lost) == 2
        return [one.id for one in lost if one.late]

    await acts.elapse(100)
    assert await late(101) == []
    assert await late(99) == [first]
    assert await late(49) == [first, second]
    # However long an attempt may take.
    assert await late(10**7) == await late(None) == []


async def test_the_unenqueued_are_active_queued_and_not_overdue(acts: Acts) -> None:
    overdue = await acts.accept(expires=10)
    first, second, started = [await acts.accept() for _ in range(3)]
    await acts.accept(conversation_id=first.generation.conversation_id, on_active="queue")
    await acts.claimed(started.generation.id)
    await acts.elapse(20)
    await acts.accept()
    expected = [first.generation.id, second.generation.id]
    assert await find_unenqueued(acts.db, 5, 10) == expected
    assert await find_unenqueued(acts.db, 5, 1) == expected[:1]
    assert overdue.generation.id not in await find_unenqueued(acts.db, 0, 10)


async def test_the_overdue_expire_with_a_reason_and_the_event_0_2_0(acts: Acts) -> None:
    late = await acts.accept(expires=10)
    started = await acts.accept(expires=10)
    await acts.claimed(started.generation.id)
    timely = await acts.accept(expires=60)
    await acts.elapse(20)
    ended = await expire_overdue(acts.db, 10)
    assert [one.generation.id for one in ended] == [late.generation.id]
    assert ended[0].generation.state is State.EXPIRED
    assert ended[0].generation.error is not None
    assert ended[0].generation.error.code == "not_started"
    source = await read_replay_source(acts.db, late.generation.id)
    assert (source.generation, source.last_seq, source.last_offset) == (ended[0].generation, 2, 0)
    assert await expire_overdue(acts.db, 10) == []
    assert (await acts.claim(timely.generation.id)) is not None


async def test_after_a_month_none_of_a_backlog_runs(acts: Acts) -> None:
    backlog = [(await acts.accept()).generation.id for _ in range(7)]
    await acts.elapse(30 * 86_400)
    assert await find_unenqueued(acts.db, 0, 100) == []
    assert [await acts.claim(one) for one in backlog] == [None] * 7
    counts = [len(await expire_overdue(acts.db, 3)) for _ in range(4)]
    assert counts == [3, 3, 1, 0]


async def test_two_rescuers_expire_each_row_once(acts: Acts) -> None:
    for _ in range(8):
        await acts.accept(expires=1)
    await acts.elapse(5)
    found = await asyncio.gather(*(expire_overdue(acts.db, 10) for _ in range(3)))
    ids = [one.generation.id for each in found for one in each]
    assert len(ids) == len(set(ids)) == 8


async def test_a_line_that_another_transaction_changes_keeps_no_other_from_expiring(
    direct: Acts,
) -> None:
    late = [await direct.accept(expires=1) for _ in range(3)]
    await direct.elapse(5)

    async def while_it_changes(connection: AsyncConnection) -> list[str]:
        await lock_line(connection, generation_id=late[1].generation.id)
        return [one.generation.id for one in await expire_overdue(direct.db, 10)]

    ended = await direct.db.write(while_it_changes, within=5)
    assert set(ended) == {late[0].generation.id, late[2].generation.id}
    [last] = await expire_overdue(direct.db, 10)
    assert last.generation.id == late[1].generation.id


async def test_the_overdue_of_an_unavailable_model_have_failed(acts: Acts) -> None:
    await acts.accept(expires=1)
    await acts.elapse(5)
    ended = await expire_overdue(acts.db, 10, unavailable_models={"m"})
    assert ended[0].generation.state is State.FAILED
    assert ended[0].generation.error is not None
    assert ended[0].generation.error.code == "model_unavailable"


async def test_an_expiry_promotes_the_next_that_is_in_time(acts: Acts) -> None:
    late = await acts.accept(expires=10)
    line = {"conversation_id": late.generation.conversation_id, "on_active": "queue"}
    also_late = await acts.accept(expires=10, **line)  # type: ignore[arg-type]
    timely = await acts.accept(expires=60, **line)  # type: ignore[arg-type]
    await acts.elapse(20)
    ended = await expire_overdue(acts.db, 10)
    assert {one.generation.id for one in ended} == {late.generation.id, also_late.generation.id}
    assert [one.promoted for one in ended if one.promoted] == [timely.generation.id]
    assert await acts.claim(timely.generation.id) is not None
