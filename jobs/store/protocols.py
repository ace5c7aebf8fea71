"""Generations that were begun in another protocol: how they were asked for, and what is hidden."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update

from jobs.database import Database, now_ms
from jobs.errors import NotFound
from jobs.generation import Generation
from jobs.store.rows import SELECT_RESOURCE, generation_of
from jobs.tables import generations


class Begun(msgspec.Struct, frozen=True):
    """A generation, and how its client asked for it (see NewGeneration)."""

    generation: Generation
    asked: Mapping[str, Any]


_BEGUN = SELECT_RESOURCE.add_columns(generations.c.asked).where(
    generations.c.id == bindparam("generation"),
    generations.c.owner == bindparam("owner"),
    generations.c.hidden_at.is_(None),
)
_UNDER_KEY = SELECT_RESOURCE.where(
    generations.c.owner == bindparam("owner"), generations.c.idempotency_key == bindparam("key")
)
_HIDDEN = select(generations.c.asked).where(
    generations.c.id == bindparam("generation"),
    generations.c.owner == bindparam("owner"),
    generations.c.hidden_at.is_not(None),
)
_HIDE = (
    update(generations)
    .where(
        generations.c.id == bindparam("generation"),
        generations.c.owner == bindparam("whose"),
        generations.c.hidden_at.is_(None),
    )
    .values(hidden_at=now_ms())
    .returning(generations.c.id)
)


async def read_begun(db: Database, owner: str, generation_id: str, protocol: str) -> Begun:
    """This owner's generation that was begun in this protocol and is not hidden.

    Raises NotFound, Unavailable.
    """
    rows = await db.fetch(_BEGUN, {"generation": generation_id, "owner": owner})
    if not rows or (rows[0].asked or {}).get("protocol") != protocol:
        raise NotFound(generation_id)
    return Begun(generation_of(rows[0], rows[0].answer), rows[0].asked)


async def read_under_key(db: Database, owner: str, key: str) -> Generation | None:
    """This owner's generation that was begun by a request with this key; raises Unavailable."""
    rows = await db.fetch(_UNDER_KEY, {"owner": owner, "key": key})
    return generation_of(rows[0], rows[0].answer) if rows else None


async def is_hidden(db: Database, owner: str, generation_id: str, protocol: str) -> bool:
    """Whether this owner has hidden a generation that was begun in this protocol.

    Raises Unavailable.
    """
    rows = await db.fetch(_HIDDEN, {"generation": generation_id, "owner": owner})
    return bool(rows) and (rows[0].asked or {}).get("protocol") == protocol


async def hide(db: Database, owner: str, generation_id: str) -> None:
    """Makes `read_begun` find it no more; raises NotFound if it was hidden already.

    What it said stays in its conversation, where later ones build on it. Raises Unavailable and
    CommitUnknown.
    """
    rows = await db.write_one(_HIDE, {"generation": generation_id, "whose": owner})
    if not rows:
        raise NotFound(generation_id)
