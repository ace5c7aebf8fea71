"""What is old enough to be deleted, and its deletion: in batches, each one short transaction.

Never deleted: what has not ended, what shares a conversation with something that has not, what made
a version of a persona that is not deleted, and what another conversation goes on from.
"""

from collections.abc import Iterable

import msgspec
from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.deleted import DeletedGeneration
from jobs.tables import (
    conversations,
    generations,
    persona_files,
    persona_versions,
    personas,
    turns,
)


class Place(msgspec.Struct, frozen=True):
    """Where a walk through ended generations stands: behind this one, in the order of ends."""

    finished_at: int = 0
    id: str = ""


_others = generations.alias("others")


def _nothing_unfinished_in(conversation: ColumnElement[str]) -> ColumnElement[bool]:
    return ~(
        select(literal_column("1"))
        .select_from(_others)
        .where(
            _others.c.conversation_id == conversation,
            # The words of the partial index.
            literal_column("others.state IN ('queued', 'running')"),
        )
        .correlate(generations, personas)
        .exists()
    )


_DELETABLE = and_(
    generations.c.finished_at < bindparam("before"),
    generations.c.state.not_in(("queued", "running")),
    ~select(persona_versions.c.version)
    .select_from(persona_versions.join(personas))
    .where(
        persona_versions.c.generation_id == generations.c.id,
        or_(personas.c.deleted_at.is_(None), personas.c.deleted_at >= bindparam("before")),
    )
    .exists(),
    ~select(conversations.c.id).where(conversations.c.forked_from == generations.c.id).exists(),
    _nothing_unfinished_in(generations.c.conversation_id),
)
_NOW = select(now_ms())
_OLD = (
    select(generations.c.finished_at, generations.c.id)
    .where(
        _DELETABLE,
        generations.c.finished_at >= bindparam("place_time"),
        or_(
            generations.c.finished_at > bindparam("place_time"),
            generations.c.id > bindparam("place_id"),
        ),
    )
    .order_by(generations.c.finished_at, generations.c.id)
    .limit(bindparam("limit"))
)
_STILL = (
    select(generations.c.owner, generations.c.id, generations.c.conversation_id)
    .where(generations.c.id.in_(bindparam("ids", expanding=True)), _DELETABLE)
    .with_for_update()
)
_DELETE_TURNS = delete(turns).where(turns.c.generation_id.in_(bindparam("ids", expanding=True)))
_DELETE_GENERATIONS = delete(generations).where(
    generations.c.id.in_(bindparam("ids", expanding=True))
)
_GONE = (
    select(personas.c.id)
    .where(
        personas.c.deleted_at < bindparam("before"),
        or_(personas.c.brief != "", personas.c.name != ""),
        personas.c.id > bindparam("after"),
        _nothing_unfinished_in(personas.c.conversation_id),
    )
    .order_by(personas.c.id)
    .limit(bindparam("limit"))
)
_SOME_FILES = (
    select(persona_files.c.path)
    .where(persona_files.c.persona_id == bindparam("persona"))
    .order_by(persona_files.c.path)
    .limit(bindparam("limit"))
)
_DELETE_FILES = delete(persona_files).where(
    persona_files.c.persona_id == bindparam("persona"),
    persona_files.c.path.in_(_SOME_FILES.scalar_subquery()),
)
_SOME_VERSIONS = (
    select(persona_versions.c.version)
    .where(persona_versions.c.persona_id == bindparam("persona"))
    .order_by(persona_versions.c.version)
    .limit(bindparam("limit"))
)
_DELETE_VERSIONS = delete(persona_versions).where(
    persona_versions.c.persona_id == bindparam("persona"),
    persona_versions.c.version.in_(_SOME_VERSIONS.scalar_subquery()),
)
_BLANK = (
    update(personas)
    .where(personas.c.id == bindparam("persona"), personas.c.deleted_at.is_not(None))
    .values(name="", brief="")
)
_RECENT = select(generations.c.id).where(
    generations.c.id.in_(bindparam("ids", expanding=True)),
    or_(generations.c.finished_at.is_(None), generations.c.finished_at >= bindparam("before")),
)


async def moment_before(db: Database, seconds: float) -> int:
    """The moment so long ago, in milliseconds by the database's clock; raises Unavailable."""
    return int((await db.fetch(_NOW))[0][0]) - round(seconds * 1000)


async def find_old(db: Database, before: int, place: Place, limit: int) -> list[Place]:
    """At most `limit` generations that ended before this moment and may go, behind this place.

    Raises Unavailable.
    """
    parameters = {
        "before": before, "place_time": place.finished_at, "place_id": place.id, "limit": limit,
    }  # fmt: skip
    return [Place(*row) for row in await db.fetch(_OLD, parameters)]


async def delete_generations(
    db: Database, before: int, ids: Iterable[str]
) -> list[tuple[str, DeletedGeneration]]:
    """Deletes those of these generations that may still go, with their turns; which, and whose.

    Raises Unavailable and CommitUnknown.
    """

    async def work(connection: AsyncConnection) -> list[tuple[str, DeletedGeneration]]:
        # Looked at again: something may have begun in their conversations since they were found.
        rows = (await connection.execute(_STILL, {"before": before, "ids": list(ids)})).all()
        if still := [row.id for row in rows]:
            await connection.execute(_DELETE_TURNS, {"ids": still})
            await connection.execute(_DELETE_GENERATIONS, {"ids": still})
        return [(row.owner, DeletedGeneration(row.id, row.conversation_id)) for row in rows]

    return await db.write(work)


async def find_deleted_personas(db: Database, before: int, after: str, limit: int) -> list[str]:
    """At most `limit` ids of personas that were deleted before this moment and not emptied yet.

    Raises Unavailable.
    """
    parameters = {"before": before, "after": after, "limit": limit}
    return [row.id for row in await db.fetch(_GONE, parameters)]


async def empty_persona(db: Database, persona_id: str, limit: int) -> None:
    """Deletes a deleted persona's files, versions, name and brief, `limit` rows a transaction.

    Its row stays, so that its id is never another's. Raises Unavailable and CommitUnknown.
    """
    for some, deletion in ((_SOME_FILES, _DELETE_FILES), (_SOME_VERSIONS, _DELETE_VERSIONS)):
        batch = {"persona": persona_id, "limit": limit}
        while await db.fetch(some, {**batch, "limit": 1}):
            await db.write_one(deletion, batch)
    await db.write_one(_BLANK, {"persona": persona_id})


async def without_recent(db: Database, before: int, ids: Iterable[str]) -> list[str]:
    """Those of these generations that are gone, or ended before this moment; raises Unavailable."""
    asked = list(ids)
    recent = {row.id for row in await db.fetch(_RECENT, {"before": before, "ids": asked})}
    return [id for id in asked if id not in recent]
