"""The workers' sign of life, and what the database says each of them holds (protocol §6)."""

from collections.abc import Coroutine
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.database_errors import DRIVER_ERRORS, NotTaken, is_of_the_value
from jobs.store.rows import IS_RUNNING
from jobs.tables import generations, workers

DAY_SECONDS = 86_400.0


class Tally(NamedTuple):
    """How many generations, and their attempts added up; another set nearly always has another."""

    generations: int
    attempts: int


class Beat(msgspec.Struct, frozen=True):
    """What a heartbeat brings back.

    `cancel`: the ids among them whose cancellation was asked for. `held`: id to attempt of every
    generation that is running and this worker's; what it does not know of, it should hand over.
    None where that is what the worker said that it is.
    """

    cancel: frozenset[str]
    held: dict[str, int] | None


_REGISTER = insert(workers).values(
    id=bindparam("worker"),
    started_at=now_ms(),
    heartbeat_at=now_ms(),
    capacity=bindparam("size"),
    running=bindparam("busy"),
)
_BEAT = (
    update(workers)
    .where(workers.c.id == bindparam("worker"))
    .values(heartbeat_at=now_ms(), running=bindparam("busy"))
)
# No row has this id; a database that is read-only refuses it all the same.
_BEAT_OF_NOBODY = update(workers).where(workers.c.id == "").values(running=workers.c.running)
_is_held = and_(IS_RUNNING, generations.c.worker_id == bindparam("worker"))
_HELD = select(generations.c.id, generations.c.attempt, generations.c.cancel_requested).where(
    _is_held
)
_TALLY = select(
    func.count(),
    func.coalesce(func.sum(generations.c.attempt), 0),
    func.count().filter(generations.c.cancel_requested),
).where(_is_held)
_DEREGISTER = delete(workers).where(workers.c.id == bindparam("worker"))
_FORGET = delete(workers).where(workers.c.heartbeat_at < now_ms() - bindparam("silence_ms"))
_ALIVE: Select[int] = (
    select(literal_column("1"))
    .select_from(workers)
    .where(workers.c.heartbeat_at > now_ms() - bindparam("lease_ms"))
    .limit(1)
)

_SILENCES = select((now_ms() - workers.c.heartbeat_at).label("silent_ms"))


def holds_lease() -> ColumnElement[bool]:
    """Whether a row's worker was heard of within the parameter `lease_ms`."""
    return (
        select(literal_column("1"))
        .select_from(workers)
        .where(
            workers.c.id == generations.c.worker_id,
            workers.c.heartbeat_at > now_ms() - bindparam("lease_ms"),
        )
        .correlate(generations)
        .exists()
    )


def has_no_lease() -> ColumnElement[bool]:
    """The opposite of `holds_lease`, for looking through many rows: the workers are listed once."""
    alive = select(workers.c.id).where(workers.c.heartbeat_at > now_ms() - bindparam("lease_ms"))
    return or_(generations.c.worker_id.is_(None), generations.c.worker_id.not_in(alive))


async def register_worker(db: Database, worker_id: str, capacity: int) -> None:
    """Makes the worker known; its claims count as lost until then. Once a worker id."""
    row = {"worker": worker_id, "size": capacity, "busy": 0}

    async def register(connection: AsyncConnection) -> None:
        await connection.execute(_DEREGISTER, row)
        await connection.execute(_REGISTER, row)

    await db.write(register)


async def beat(
    db: Database,
    worker_id: str,
    running: int,
    *,
    known: Tally | None = None,
    within: float | None = None,
) -> Beat:
    """Renews the lease on all that this worker holds, in three statements whatever it holds.

    Where that is what is `known` and nobody cancelled any of it, nothing is listed, in two.

    A worker that was forgotten is made known again, with the capacity that it runs at. Raises
    Unavailable, on PostgreSQL within that many seconds.
    """
    row = {"worker": worker_id, "busy": running, "size": running}

    async def renew(connection: AsyncConnection) -> Beat:
        if (await connection.execute(_BEAT, row)).rowcount == 0:
            await connection.execute(_REGISTER, row)
        if known is not None:
            *tally, cancelled = (await connection.execute(_TALLY, row)).one()
            if Tally(*tally) == known and not cancelled:
                return Beat(cancel=frozenset(), held=None)
        held = (await connection.execute(_HELD, row)).all()
        return Beat(
            cancel=frozenset(one.id for one in held if one.cancel_requested),
            held={one.id: one.attempt for one in held},
        )

    return await db.write_at_once(renew, within=within)


async def check_beats_can_be_stored(db: Database) -> None:
    """Raises Unavailable while no worker could beat: away, read-only, or its rights were taken.

    It stores nothing and costs no sync, so that it passes on a full disk: see `try_a_beat`.
    """
    await _stored(db.write_one(_BEAT_OF_NOBODY))


async def try_a_beat(db: Database, prober_id: str, *, within: float) -> None:
    """Raises Unavailable while what a worker writes is not stored, within so many seconds or not.

    Nothing is left of it and nobody sees it, whoever else tries at the same time under an id of
    their own.
    """
    row = {"worker": prober_id, "size": 0, "busy": 0}

    async def come_and_go(connection: AsyncConnection) -> None:
        await connection.execute(_REGISTER, row)
        await connection.execute(_DEREGISTER, row)

    await _stored(db.write_at_once(come_and_go, within=within))


async def _stored(writing: Coroutine[Any, Any, object]) -> None:
    try:
        await writing
    except DRIVER_ERRORS as error:
        if is_of_the_value(error):
            raise
        raise NotTaken(error) from error


async def deregister_worker(db: Database, worker_id: str) -> None:
    """Forgets this worker; what it still holds is lost at once, so it hands over first."""

    async def forget(connection: AsyncConnection) -> None:
        await connection.execute(_DEREGISTER, {"worker": worker_id})

    await db.write(forget)


async def forget_workers(db: Database, silent_seconds: float = DAY_SECONDS) -> int:
    """Deletes the rows of workers not heard of for this long; gives how many."""

    async def forget(connection: AsyncConnection) -> int:
        silence = {"silence_ms": round(silent_seconds * 1000)}
        return (await connection.execute(_FORGET, silence)).rowcount

    return await db.write(forget)


async def worker_silences(db: Database) -> tuple[float, ...]:
    """For each worker that did not take its leave, the seconds since it was heard of."""
    return tuple(row.silent_ms / 1000 for row in await db.fetch(_SILENCES))


async def any_worker_alive(db: Database, lease_seconds: float) -> bool:
    """Whether at least one worker was heard of within the lease."""
    return bool(await db.fetch(_ALIVE, {"lease_ms": round(lease_seconds * 1000)}))
