"""Threads: conversations under the names that clients of other protocols give them.

A name is its owner's and its protocol's. The first request under it makes the conversation; later
ones go on there, whatever they claim was said before. One that takes back what was said last takes
the thread to a conversation that branches off before that.
"""

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.generation import Generation, Kind, State
from jobs.store.requests import NewGeneration, Replaces, Thread
from jobs.store.rows import IS_UNFINISHED, SELECT_RESOURCE, AnyRow, generation_of
from jobs.tables import conversations, generations, threads, turns


class ThreadNow(msgspec.Struct, frozen=True):
    """The newest generation that was begun in a thread.

    `recent`: it has not ended, or not longer ago than was asked.
    """

    generation: Generation
    recent: bool


_MINE = (
    threads.c.owner == bindparam("whose"),
    threads.c.protocol == bindparam("named_by"),
    threads.c.key == bindparam("named"),
)
_PLACE = (
    select(
        conversations.c.id,
        conversations.c.persona_id,
        conversations.c.forked_from,
        threads.c.generation_id,
    )
    .select_from(threads.join(conversations))
    .where(*_MINE)
)
_NO_TURN_YET = 2**31 - 1
_since = turns.alias("since")
_BEFORE = (
    select(generations.c.id, generations.c.state)
    .select_from(turns.join(generations, generations.c.id == turns.c.generation_id))
    .where(
        turns.c.conversation_id == bindparam("conversation"),
        turns.c.position
        < select(func.coalesce(func.min(_since.c.position), _NO_TURN_YET))
        .where(_since.c.generation_id == bindparam("generation"))
        .scalar_subquery(),
    )
    .order_by(turns.c.position.desc())
    .limit(1)
)
_lineage = (
    select(conversations.c.id, conversations.c.forked_from)
    .where(conversations.c.id == bindparam("conversation"))
    .cte("lineage", recursive=True)
)
_branched = _lineage.union(
    select(conversations.c.id, conversations.c.forked_from)
    .select_from(generations.join(conversations))
    .where(generations.c.id == _lineage.c.forked_from)
)
_KEPT = (
    select(generations.c.id, generations.c.state)
    .select_from(generations.join(_branched, generations.c.conversation_id == _branched.c.id))
    .where(generations.c.id == bindparam("kept"))
)
_ADD = insert(threads).values(
    owner=bindparam("whose"),
    protocol=bindparam("named_by"),
    key=bindparam("named"),
    conversation_id=bindparam("conversation"),
    generation_id=bindparam("generation"),
    created_at=now_ms(),
)
_GO_ON = (
    update(threads)
    .where(*_MINE, threads.c.conversation_id == bindparam("conversation"))
    .values(generation_id=bindparam("generation"))
)
_BRANCH_OFF = (
    update(threads)
    .where(*_MINE)
    .values(conversation_id=bindparam("conversation"), generation_id=bindparam("generation"))
)
_NEWEST = SELECT_RESOURCE.add_columns(
    (
        generations.c.finished_at.is_(None)
        | (generations.c.finished_at >= now_ms() - bindparam("recent_ms"))
    ).label("recent")
).where(generations.c.id == select(threads.c.generation_id).where(*_MINE).scalar_subquery())
_UNFINISHED = (
    select(generations.c.id)
    .where(
        generations.c.conversation_id
        == select(threads.c.conversation_id).where(*_MINE).scalar_subquery(),
        IS_UNFINISHED,
    )
    .order_by(generations.c.created_at.desc(), generations.c.id.desc())
)


async def in_thread(connection: AsyncConnection, new: NewGeneration) -> NewGeneration:
    """The request where its thread is: a `refine` of its persona, else no kind that makes one.

    Unchanged when the thread is yet to be made. Nothing is locked: `enter_thread` meets whoever
    made it or took it elsewhere meanwhile.
    """
    assert new.thread is not None
    row = (await connection.execute(_PLACE, _names(new.owner, new.thread))).first()
    if row is None:
        return new
    if new.replaces is not None and row.persona_id is None:
        follows = await _before_replaced(connection, new.replaces, row)
        if follows is not None:
            return msgspec.structs.replace(
                new,
                kind=_kind_there(new.kind),
                conversation_id=None,
                follows=follows or None,
                name=None,
            )
    return msgspec.structs.replace(
        new,
        kind=_kind_there(new.kind) if row.persona_id is None else Kind.REFINE,
        conversation_id=row.id,
        follows=None,
        persona_id=row.persona_id,
        name=None,
    )


async def _before_replaced(
    connection: AsyncConnection, replaces: Replaces, row: AnyRow
) -> str | None:
    """The answer after which the thread branches off, empty for none; None where it goes on."""
    if replaces.keeps == "":
        return ""
    place = {"conversation": row.id, "generation": row.generation_id, "kept": replaces.keeps}
    before = None
    if replaces.keeps is not None:
        before = (await connection.execute(_KEPT, place)).first()
    if before is None:
        if not replaces.newest or row.generation_id is None:
            return None
        before = (await connection.execute(_BEFORE, place)).first()
        if before is None:
            return row.forked_from or ""
    # What is still being answered can't be gone on from; the request waits for it in line.
    return before.id if State(before.state).terminal else None


def _kind_there(kind: Kind) -> Kind:
    """What goes on in a conversation without a persona: a chat, or an application's kind."""
    return Kind.CHAT if kind in (Kind.GENERATE, Kind.REFINE) else kind


async def enter_thread(
    connection: AsyncConnection, new: NewGeneration, conversation_id: str, generation_id: str
) -> None:
    """Makes this generation the thread's newest, and the thread where it is not there yet.

    Of two requests that make the same thread, one meets UniqueViolation and begins anew.
    """
    assert new.thread is not None
    values = {
        **_names(new.owner, new.thread),
        "conversation": conversation_id,
        "generation": generation_id,
    }
    branches = new.replaces is not None and new.conversation_id is None
    went_on = await connection.execute(_BRANCH_OFF if branches else _GO_ON, values)
    if went_on.rowcount == 0:
        await connection.execute(_ADD, values)


async def read_thread(
    db: Database, owner: str, thread: Thread, *, recent_seconds: float = 0.0
) -> ThreadNow | None:
    """What became of the thread's newest request; None of one that is not known.

    Raises Unavailable.
    """
    parameters = {**_names(owner, thread), "recent_ms": round(recent_seconds * 1000)}
    rows = await db.fetch(_NEWEST, parameters)
    return ThreadNow(generation_of(rows[0], rows[0].answer), bool(rows[0].recent)) if rows else None


async def unfinished_in_thread(db: Database, owner: str, thread: Thread) -> tuple[str, ...]:
    """The ids of all that runs or waits in the thread's conversation, newest first.

    Raises Unavailable.
    """
    rows = await db.fetch(_UNFINISHED, _names(owner, thread))
    return tuple(row.id for row in rows)


def _names(owner: str, thread: Thread) -> dict[str, str]:
    return {"whose": owner, "named_by": thread.protocol, "named": thread.key}
