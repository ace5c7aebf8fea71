"""Personas read to be exported: whole versions, in pieces of bounded size, of any number."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from sqlalchemy import Select, and_, bindparam, func, or_, select

from jobs.database import Database
from jobs.errors import NotFound
from jobs.generation import rfc3339
from jobs.store.personas import FileContent
from jobs.store.rows import AnyRow
from jobs.tables import persona_files, persona_versions, personas

PIECE_BYTES = 1 << 20
"""Files are read together up to so many bytes; a larger one alone."""
PERSONAS_A_PAGE = 100


class ExportedPersona(msgspec.Struct, frozen=True):
    """What there is of a persona beside its files, at its newest version."""

    id: str
    owner: str
    name: str
    brief: str
    version: int
    skills: tuple[str, ...]
    conversation_id: str
    created_at: str


_OWNED = (personas.c.owner == bindparam("owner"), personas.c.deleted_at.is_(None))
_COUNT = select(func.count()).select_from(personas).where(*_OWNED)
_DESCRIBED = (
    select(
        personas.c.id,
        personas.c.owner,
        personas.c.name,
        personas.c.brief,
        personas.c.version,
        persona_versions.c.skills,
        personas.c.conversation_id,
        personas.c.created_at,
    )
    .select_from(
        personas.outerjoin(
            persona_versions,
            and_(
                persona_versions.c.persona_id == personas.c.id,
                persona_versions.c.version == personas.c.version,
            ),
        )
    )
    .where(personas.c.deleted_at.is_(None))
)
_BY_ID = _DESCRIBED.where(personas.c.id == bindparam("persona"))
_PAGE = (
    _DESCRIBED.where(personas.c.owner == bindparam("owner"), personas.c.id > bindparam("after"))
    .order_by(personas.c.id)
    .limit(PERSONAS_A_PAGE)
)
_HEAD = select(personas.c.version).where(*_OWNED, personas.c.id == bindparam("persona"))
_OF_VERSION = (
    persona_files.c.persona_id == bindparam("persona"),
    persona_files.c.since_version <= bindparam("at"),
    or_(persona_files.c.until_version.is_(None), persona_files.c.until_version > bindparam("at")),
)
_SIZES = (
    select(persona_files.c.path, persona_files.c.bytes)
    .where(*_OF_VERSION)
    .order_by(persona_files.c.path)
)
_CONTENTS: Select[*tuple[Any, ...]] = (
    select(
        persona_files.c.path, persona_files.c.content, persona_files.c.bytes, persona_files.c.sha256
    )
    .where(*_OF_VERSION, persona_files.c.path.between(bindparam("first"), bindparam("last")))
    .order_by(persona_files.c.path)
)


async def export_files(db: Database, owner: str, persona_id: str) -> AsyncIterator[FileContent]:
    """Every file of the newest version, by path, PIECE_BYTES of them in memory at a time.

    Consistent without holding a connection between two pieces: a version's files never change.
    Raises NotFound before the first file, and Unavailable.
    """
    persona = {"persona": persona_id, "owner": owner}
    async with db.read() as connection:
        head = (await connection.execute(_HEAD, persona)).first()
        if head is None:
            raise NotFound(persona_id)
        at = {"persona": persona_id, "at": head.version}
        sizes = (await connection.execute(_SIZES, at)).all()
    for first, last in _pieces((row.path, row.bytes) for row in sizes):
        for row in await db.fetch(_CONTENTS, {**at, "first": first, "last": last}):
            yield FileContent(row.path, head.version, row.content, row.bytes, row.sha256)


async def export_personas(db: Database, owner: str) -> AsyncIterator[ExportedPersona]:
    """Every persona of this owner, oldest first, each as it is when its page is read.

    Raises Unavailable.
    """
    after = ""
    while rows := await db.fetch(_PAGE, {"owner": owner, "after": after}):
        for row in rows:
            after = row.id
            yield _exported(row)


async def find_persona(db: Database, persona_id: str) -> ExportedPersona:
    """This persona, whoever's it is; raises NotFound and Unavailable."""
    rows = await db.fetch(_BY_ID, {"persona": persona_id})
    if not rows:
        raise NotFound(persona_id)
    return _exported(rows[0])


async def count_personas(db: Database, owner: str) -> int:
    """How many personas this owner has; raises Unavailable."""
    return int((await db.fetch(_COUNT, {"owner": owner}))[0][0])


def _exported(row: AnyRow) -> ExportedPersona:
    return ExportedPersona(
        id=row.id,
        owner=row.owner,
        name=row.name,
        brief=row.brief,
        version=row.version,
        skills=tuple(row.skills or ()),
        conversation_id=row.conversation_id,
        created_at=rfc3339(row.created_at),
    )


def _pieces(sizes: Iterable[tuple[str, int]]) -> Iterable[tuple[str, str]]:
    """The first and last path of each piece; `sizes` are in the order of paths."""
    first = last = None
    together = 0
    for path, size in sizes:
        if first is not None and last is not None and together + size > PIECE_BYTES:
            yield first, last
            first, together = None, 0
        first = path if first is None else first
        last, together = path, together + size
    if first is not None and last is not None:
        yield first, last
