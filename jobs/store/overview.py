"""How the whole system stands, for operators: counted by the database, in one snapshot."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.store.breakers import ALL_BREAKERS, Breaker
from jobs.store.rows import IS_UNFINISHED, AnyRow
from jobs.store.workers import holds_lease
from jobs.tables import generations, workers

SLICE_MS = 10_000
"""Rates are counted in slices of time of this length, which begin at its multiples."""
WORKERS_SHOWN = 200


class WorkerFigures(msgspec.Struct, frozen=True):
    """One worker as its heartbeat told; `alive` within the lease."""

    id: str
    alive: bool
    silent_seconds: float
    running: int
    capacity: int
    started_at: int


class Standing(msgspec.Struct, frozen=True):
    """Generations that have not ended; `lost` are running ones that nobody runs, not in `running`.

    `queued` may be claimed, `waiting` ones stand behind another in their conversation.
    """

    queued: int
    waiting: int
    running: int
    lost: int
    oldest_queued_seconds: float


class Ended(msgspec.Struct, frozen=True):
    """How many ended in one slice of time, in this state and with this error code."""

    slice: int
    state: str
    code: str
    total: int
    output_tokens: int


class Overview(msgspec.Struct, frozen=True):
    """One snapshot; `now_ms` is the database's clock, slices are multiples of SLICE_MS."""

    now_ms: int
    standing: Standing
    workers: tuple[WorkerFigures, ...]
    breakers: tuple[Breaker, ...]
    since_slice: int
    """The first slice that `accepted` and `ended` are whole of."""
    accepted: Mapping[int, int]
    ended: tuple[Ended, ...]


_silent = now_ms() - workers.c.heartbeat_at
_WORKERS = (
    select(
        workers.c.id,
        (_silent < bindparam("lease_ms")).label("alive"),
        _silent.label("silent_ms"),
        workers.c.running,
        workers.c.capacity,
        workers.c.started_at,
    )
    .order_by(workers.c.started_at, workers.c.id)
    .limit(WORKERS_SHOWN)
)
_is_lost = and_(generations.c.state == "running", or_(generations.c.handed_over, ~holds_lease()))
_STANDING = (
    select(
        generations.c.state,
        generations.c.active,
        func.count().label("total"),
        func.sum(case((_is_lost, 1), else_=0)).label("lost"),
        func.min(generations.c.created_at).label("oldest"),
    )
    .where(IS_UNFINISHED)
    .group_by(generations.c.state, generations.c.active)
)


def _slice(moment: ColumnElement[int]) -> ColumnElement[int]:
    # A literal: as parameters the two of a statement would be different expressions to group by.
    return (moment // literal_column(str(SLICE_MS), Integer)).label("slice")


_created, _finished = _slice(generations.c.created_at), _slice(generations.c.finished_at)
_ACCEPTED = (
    select(_created, func.count().label("total"))
    .where(generations.c.created_at >= bindparam("since"))
    .group_by(_created)
)
_ENDED = (
    select(
        _finished,
        generations.c.state,
        func.coalesce(generations.c.error_code, "").label("code"),
        func.count().label("total"),
        func.coalesce(func.sum(generations.c.output_tokens), 0).label("output_tokens"),
    )
    .where(generations.c.finished_at >= bindparam("since"))
    .group_by(_finished, generations.c.state, generations.c.error_code)
)
_NOW = select(now_ms().label("now"))


async def read_overview(db: Database, *, lease_seconds: float, window_seconds: float) -> Overview:
    """How everything stands now, with what was accepted and ended in the window before.

    The window begins at a slice of its own, so that every slice is whole but the newest one.
    Raises Unavailable.
    """
    lease = {"lease_ms": round(lease_seconds * 1000)}
    async with db.read() as connection:
        now = int((await connection.execute(_NOW)).scalar_one())
        since = (now - round(window_seconds * 1000)) // SLICE_MS + 1
        span = {"since": since * SLICE_MS}
        return Overview(
            now_ms=now,
            standing=_standing(await _rows(connection, _STANDING, lease), now),
            workers=tuple(map(_worker, await _rows(connection, _WORKERS, lease))),
            breakers=tuple(
                Breaker(**row._mapping) for row in await _rows(connection, ALL_BREAKERS, {})
            ),
            since_slice=since,
            accepted={row.slice: row.total for row in await _rows(connection, _ACCEPTED, span)},
            ended=tuple(Ended(**row._mapping) for row in await _rows(connection, _ENDED, span)),
        )


async def _rows(
    connection: AsyncConnection, statement: Any, parameters: Mapping[str, Any]
) -> Sequence[AnyRow]:
    return (await connection.execute(statement, parameters)).all()


def _standing(rows: Sequence[AnyRow], now: int) -> Standing:
    queued = waiting = running = lost = 0
    oldest = now
    for row in rows:
        if row.state == "running":
            lost += row.lost
            running += row.total - row.lost
        elif row.active:
            queued += row.total
            oldest = min(oldest, row.oldest)
        else:
            waiting += row.total
    return Standing(queued, waiting, running, lost, max(0, now - oldest) / 1000)


def _worker(row: AnyRow) -> WorkerFigures:
    return WorkerFigures(
        id=row.id,
        alive=bool(row.alive),
        silent_seconds=max(0, row.silent_ms) / 1000,
        running=row.running,
        capacity=row.capacity,
        started_at=row.started_at,
    )
