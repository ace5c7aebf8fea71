"""What was not started in time ends, many in one transaction, and the next of each line is active.

A line that another transaction changes just now is left for the next look: no two of these wait for
each other, and several rescuers share what there is.
"""

from collections import defaultdict
from collections.abc import Collection

import msgspec
from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.generation import Failure, Kind, State
from jobs.kinds import BUILT_IN
from jobs.store.commits import Committed
from jobs.store.line import NEVER_RAN_SEQ, promote
from jobs.store.rows import IS_UNFINISHED, ROW, AnyRow, generation_of
from jobs.tables import conversations, generations

NOT_STARTED = Failure("not_started", "it was not started in time", True)
MODEL_UNAVAILABLE = Failure("model_unavailable", "the model could not be reached in time", True)

IS_OVERDUE = and_(
    IS_UNFINISHED, generations.c.state == "queued", generations.c.expires_at <= now_ms()
)
_OVERDUE = (
    select(
        generations.c.id,
        generations.c.kind,
        generations.c.model,
        generations.c.conversation_id,
    )
    .where(IS_OVERDUE)
    .order_by(generations.c.created_at)
    .limit(bindparam("limit"))
)
_LOCK_FREE = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("lines", expanding=True)))
    .with_for_update(key_share=True, skip_locked=True)
)
_END = (
    update(generations)
    .where(
        generations.c.id.in_(bindparam("ids", expanding=True)),
        generations.c.state == "queued",
    )
    .values(
        state=bindparam("end"),
        active=False,
        finished_at=now_ms(),
        last_seq=NEVER_RAN_SEQ,
        last_offset=0,
        error_code=bindparam("code"),
        error_message=bindparam("message"),
        error_retryable=bindparam("retryable"),
    )
    .returning(*ROW)
)
_WAITING = (
    select(generations.c.conversation_id)
    .where(
        generations.c.conversation_id.in_(bindparam("lines", expanding=True)),
        IS_UNFINISHED,
        generations.c.state == "queued",
        generations.c.expires_at > now_ms(),
    )
    .distinct()
)


async def expire_overdue(
    db: Database, limit: int, *, unavailable_models: Collection[str] = ()
) -> list[Committed]:
    """Ends at most `limit` generations that were not started in time, active and waiting ones.

    They become `expired` with `not_started`, or `failed` with `model_unavailable` where the model
    is one of those given. The next in line of each becomes active. Raises Unavailable.
    """

    async def expire(connection: AsyncConnection) -> list[Committed]:
        overdue = (await connection.execute(_OVERDUE, {"limit": limit})).all()
        free = await _lock(connection, {row.conversation_id for row in overdue})
        alike: dict[tuple[State, Failure], list[str]] = defaultdict(list)
        for row in overdue:
            if row.conversation_id in free:
                alike[_end_of(row, unavailable_models)].append(row.id)
        ended: list[AnyRow] = []
        for (state, error), ids in alike.items():
            end = {"end": state.value, "code": error.code, "message": error.message}
            what = {"ids": ids, "retryable": error.retryable, **end}
            ended += (await connection.execute(_END, what)).all()
        return await _promoting(connection, ended)

    return await db.write_at_once(expire)


async def _lock(connection: AsyncConnection, lines: Collection[str]) -> Collection[str]:
    """Those of these conversations that nobody else changes, nor will until this has ended."""
    if not lines or connection.dialect.name == "sqlite":
        return lines
    return set((await connection.execute(_LOCK_FREE, {"lines": list(lines)})).scalars())


async def _promoting(connection: AsyncConnection, ended: list[AnyRow]) -> list[Committed]:
    """What ended, the last one of each line with whom it made active."""
    last = {row.conversation_id: row.id for row in ended}
    if not last:
        return []
    promoted = {}
    for line in (await connection.execute(_WAITING, {"lines": list(last)})).scalars().all():
        promoted[last[line]] = await promote(connection, line)
    return [Committed(generation_of(row, None), promoted.get(row.id), row.owner) for row in ended]


def _end_of(row: AnyRow, unavailable_models: Collection[str]) -> tuple[State, Failure]:
    if row.model in unavailable_models:
        return State.FAILED, MODEL_UNAVAILABLE
    kind = Kind(row.kind)
    if kind in BUILT_IN:
        return State.EXPIRED, NOT_STARTED
    reason = f"{NOT_STARTED.message}: is there a worker that knows the kind {kind.value!r}?"
    return State.EXPIRED, msgspec.structs.replace(NOT_STARTED, message=reason)
