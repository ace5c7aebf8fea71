"""A conversation's line: one active generation, the others wait and are promoted in order.

Whoever changes a line locks its conversation first, so that turns get dense positions and two
transactions never wait for each other in a circle. (SQLite has one writer at a time anyway.)
"""

from typing import NamedTuple

from sqlalchemy import bindparam, func, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import now_ms
from jobs.generation import State
from jobs.ids import new_id
from jobs.store.rows import IS_ACTIVE, IS_UNFINISHED
from jobs.tables import conversations, generations, turns

# The terminal event of a generation that never ran is 0.2.0 (protocol §5).
NEVER_RAN_SEQ = 2

_LOCK_BY_GENERATION = (
    select(conversations.c.id)
    .where(
        conversations.c.id
        == select(generations.c.conversation_id)
        .where(generations.c.id == bindparam("generation_id"))
        .scalar_subquery()
    )
    .with_for_update(key_share=True)
)

_LOCK = (
    select(conversations.c.id)
    .where(conversations.c.id == bindparam("conversation_id"))
    .with_for_update(key_share=True)
)

_others = generations.alias("others")

_PROMOTE = (
    update(generations)
    .where(
        generations.c.id
        == select(_others.c.id)
        .where(
            _others.c.conversation_id == bindparam("conversation"),
            literal_column("others.state IN ('queued', 'running')"),
            # Not "= 'queued'": that would draw the planner to the index of all that are queued.
            _others.c.state != "running",
            # One that is overdue must not run: it is left to expire.
            _others.c.expires_at > now_ms(),
        )
        .order_by(_others.c.created_at, _others.c.id)
        .limit(1)
        .scalar_subquery(),
        ~select(literal_column("1"))
        .select_from(holders := generations.alias("holders"))
        .where(
            holders.c.conversation_id == bindparam("conversation"), literal_column("holders.active")
        )
        .exists(),
    )
    .values(active=True)
    .returning(generations.c.id, generations.c.input)
)

_ADD_TURN = insert(turns).values(
    id=bindparam("id"),
    conversation_id=bindparam("conversation"),
    generation_id=bindparam("generation"),
    role=bindparam("role"),
    position=select(func.coalesce(func.max(turns.c.position), 0) + 1)
    .where(turns.c.conversation_id == bindparam("conversation"))
    .scalar_subquery(),
    text=bindparam("text"),
    partial=bindparam("partial"),
    created_at=now_ms(),
)

_CANCEL_QUEUED = (
    update(generations)
    .where(
        generations.c.conversation_id == bindparam("conversation"),
        IS_UNFINISHED,
        generations.c.state != "running",
    )
    .values(
        state=State.CANCELLED.value,
        active=False,
        finished_at=now_ms(),
        last_seq=NEVER_RAN_SEQ,
        last_offset=0,
    )
    .returning(generations.c.id)
)

_CANCEL_RUNNING = (
    update(generations)
    .where(
        generations.c.conversation_id == bindparam("conversation"),
        IS_UNFINISHED,
        IS_ACTIVE,
        generations.c.state == "running",
    )
    .values(cancel_requested=True)
    .returning(generations.c.id)
)


class Cleared(NamedTuple):
    """What clearing a line did: who ended at once, and who runs and was asked to stop."""

    ended: tuple[str, ...]
    stopping: tuple[str, ...]


async def lock_line(
    connection: AsyncConnection,
    *,
    conversation_id: str | None = None,
    generation_id: str | None = None,
) -> None:
    """Keeps every other transaction off this conversation's line until this one ends."""
    if connection.dialect.name == "sqlite":
        return
    if conversation_id is not None:
        await connection.execute(_LOCK, {"conversation_id": conversation_id})
    else:
        await connection.execute(_LOCK_BY_GENERATION, {"generation_id": generation_id})


async def promote(connection: AsyncConnection, conversation_id: str) -> str | None:
    """Makes the first waiting generation that is not overdue active, and enters its user turn.

    Gives its id, or None when none waits or the place is taken. The line is locked.
    """
    row = (await connection.execute(_PROMOTE, {"conversation": conversation_id})).first()
    if row is None:
        return None
    await add_turn(connection, conversation_id, row.id, "user", row.input)
    return str(row.id)


async def add_turn(
    connection: AsyncConnection,
    conversation_id: str,
    generation_id: str,
    role: str,
    text: str,
    *,
    partial: bool = False,
) -> None:
    """Appends a turn to the conversation. The line is locked, or nobody else knows it yet."""
    await connection.execute(
        _ADD_TURN,
        {
            "id": new_id("trn"),
            "conversation": conversation_id,
            "generation": generation_id,
            "role": role,
            "text": text,
            "partial": partial,
        },
    )


async def clear_line(connection: AsyncConnection, conversation_id: str) -> Cleared:
    """Ends all queued ones as cancelled, and asks the running one to stop. The line is locked."""
    line = {"conversation": conversation_id}
    ended = (await connection.execute(_CANCEL_QUEUED, line)).scalars().all()
    stopping = (await connection.execute(_CANCEL_RUNNING, line)).scalars().all()
    return Cleared(tuple(sorted(ended)), tuple(stopping))
