"""What readers are shown of generations: the resource, lists, where a stream stands, replays."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Select, String, bindparam, select

from jobs.database import Database
from jobs.errors import NotFound
from jobs.generation import Generation, Kind, State
from jobs.store.conversations import ConversationResource, TurnResource, read_conversation
from jobs.store.pages import Page, before_id, check_limit
from jobs.store.rows import IS_UNFINISHED, SELECT_RESOURCE, AnyRow, generation_of
from jobs.store.standings import HELD, WorkerSign, json_texts, sign_of
from jobs.tables import generations

__all__ = [
    "ConversationResource",
    "Page",
    "ReplaySource",
    "StreamRow",
    "TurnResource",
    "list_active",
    "list_generations",
    "read_conversation",
    "read_generation",
    "read_owners",
    "read_replay_source",
    "read_stream_row",
]


class StreamRow(msgspec.Struct, frozen=True):
    """Where a generation stands; `last_seq` and `last_offset` are its terminal event's, or None."""

    id: str
    owner: str
    state: State
    attempt: int
    last_seq: int | None
    last_offset: int | None
    worker: WorkerSign


class ReplaySource(msgspec.Struct, frozen=True):
    """All that SQL keeps of a generation's events; `timeline` is None when it never ran."""

    generation: Generation
    text: str
    timeline: bytes | None
    last_seq: int | None
    last_offset: int | None


_BY_ID = SELECT_RESOURCE.where(generations.c.id == bindparam("generation"))
_BY_OWNER = _BY_ID.where(generations.c.owner == bindparam("owner"))
_REPLAY = _BY_ID.add_columns(
    generations.c.timeline, generations.c.last_seq, generations.c.last_offset
)
_ACTIVE = SELECT_RESOURCE.where(generations.c.owner == bindparam("owner"), IS_UNFINISHED).order_by(
    generations.c.created_at, generations.c.id
)
_STREAM_COLUMNS = (
    generations.c.id,
    generations.c.owner,
    generations.c.state,
    generations.c.attempt,
    generations.c.last_seq,
    generations.c.last_offset,
    HELD,
)
_STREAM_ROW = select(*_STREAM_COLUMNS).where(generations.c.id == bindparam("generation"))
NO_PERSONA = "none"
"""Asks a list for what belongs to no persona."""
_asked = json_texts(bindparam("ids", type_=String)).table_valued("value")
_OWNERS = select(generations.c.id, generations.c.owner).where(
    generations.c.id.in_(select(_asked.c.value))
)


async def read_generation(db: Database, owner: str | None, generation_id: str) -> Generation:
    """The resource, with its text; `owner` None reads whoever's. Raises NotFound, Unavailable."""
    statement = _BY_ID if owner is None else _BY_OWNER
    rows = await db.fetch(statement, {"generation": generation_id, "owner": owner})
    if not rows:
        raise NotFound(generation_id)
    return generation_of(rows[0], rows[0].answer)


async def list_generations(
    db: Database,
    owner: str | None,
    state: State | None = None,
    kind: Kind | None = None,
    limit: int = 20,
    cursor: str | None = None,
    *,
    persona_id: str | None = None,
) -> Page[Generation]:
    """A page of this owner's generations, newest first; `owner` None lists everybody's.

    With a `persona_id` only those of this persona, with NO_PERSONA those of none.
    Raises InvalidRequest for a limit out of 1 to 100 or a cursor that is none, and Unavailable.
    """
    check_limit(limit)
    asked = {"owner": owner, "state": state, "kind": kind, "persona_id": persona_id}
    narrowing = {name: value for name, value in asked.items() if value is not None}
    if of_none := persona_id == NO_PERSONA:
        del narrowing["persona_id"]
    statement = _list_statement(tuple(narrowing), of_none)
    parameters = {**narrowing, "before": before_id(cursor), "limit": limit + 1}
    rows = await db.fetch(statement, parameters)
    data = tuple(generation_of(row, row.answer) for row in rows[:limit])
    return Page(data, data[-1].id if len(rows) > limit else None)


@lru_cache
def _list_statement(given: tuple[str, ...], of_no_persona: bool) -> Select[*tuple[Any, ...]]:
    narrowed = SELECT_RESOURCE.where(generations.c.id < bindparam("before"))
    for name in given:
        narrowed = narrowed.where(generations.c[name] == bindparam(name))
    if of_no_persona:
        narrowed = narrowed.where(generations.c.persona_id.is_(None))
    return narrowed.order_by(generations.c.id.desc()).limit(bindparam("limit"))


async def list_active(db: Database, owner: str) -> tuple[Generation, ...]:
    """Everything of this owner that has not ended, waiting ones included, in order of arrival."""
    rows = await db.fetch(_ACTIVE, {"owner": owner})
    return tuple(generation_of(row, row.answer) for row in rows)


async def read_stream_row(
    db: Database, generation_id: str, *, lease_seconds: float
) -> StreamRow | None:
    """Where this generation stands, or None when there is none; raises Unavailable."""
    parameters = {"generation": generation_id, "lease_ms": round(lease_seconds * 1000)}
    rows = await db.fetch(_STREAM_ROW, parameters)
    return _stream_row(rows[0]) if rows else None


async def read_owners(db: Database, generation_ids: Iterable[str]) -> dict[str, str]:
    """Whose these generations are, by id, in one statement for any number; raises Unavailable."""
    ids = msgspec.json.encode(sorted(set(generation_ids))).decode()
    return {row.id: row.owner for row in await db.fetch(_OWNERS, {"ids": ids})}


async def read_replay_source(db: Database, generation_id: str) -> ReplaySource:
    """What the generation's events are rebuilt from; raises NotFound, Unavailable."""
    rows = await db.fetch(_REPLAY, {"generation": generation_id})
    if not rows:
        raise NotFound(generation_id)
    row = rows[0]
    return ReplaySource(
        generation=generation_of(row, row.answer),
        text=row.answer or "",
        timeline=row.timeline,
        last_seq=row.last_seq,
        last_offset=row.last_offset,
    )


def _stream_row(row: AnyRow) -> StreamRow:
    return StreamRow(
        id=row.id,
        owner=row.owner,
        state=State(row.state),
        attempt=row.attempt,
        last_seq=row.last_seq,
        last_offset=row.last_offset,
        worker=sign_of(row.held),
    )
