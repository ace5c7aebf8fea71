"""Personas as readers are shown them: lists, versions, files, and the end of one."""

from typing import Any

import msgspec
from sqlalchemy import Select, and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.errors import InvalidRequest, NotFound
from jobs.generation import rfc3339
from jobs.store.line import clear_line, lock_line
from jobs.store.pages import Page, before_id, check_limit
from jobs.tables import persona_files, persona_versions, personas


class PersonaItem(msgspec.Struct, frozen=True):
    """A persona in a list."""

    id: str
    name: str
    version: int
    conversation_id: str
    created_at: str


class PersonaFile(msgspec.Struct, frozen=True):
    """A file of a version: its path, size in bytes and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


class PersonaResource(msgspec.Struct, frozen=True):
    """The resource of protocol §4 at its newest version; 0 has neither files nor skills."""

    id: str
    name: str
    brief: str
    version: int
    files: tuple[PersonaFile, ...]
    skills: tuple[str, ...]
    derived: dict[str, Any]
    conversation_id: str
    created_at: str


class PersonaVersion(msgspec.Struct, frozen=True):
    """One committed version, and the generation that made it."""

    version: int
    generation_id: str
    files: tuple[PersonaFile, ...]
    skills: tuple[str, ...]
    created_at: str


class FileContent(msgspec.Struct, frozen=True):
    """A file's content at the version asked for."""

    path: str
    version: int
    content: str
    bytes: int
    sha256: str


class Deleted(msgspec.Struct, frozen=True):
    """What deleting a persona did to its generations.

    `ended`: those that were queued and are cancelled now; `stopping`: those that run and were
    asked to stop.
    """

    ended: tuple[str, ...]
    stopping: tuple[str, ...]


_OWNED = (
    personas.c.id == bindparam("persona"),
    personas.c.owner == bindparam("owner"),
    personas.c.deleted_at.is_(None),
)
_LIST = (
    select(
        personas.c.id,
        personas.c.name,
        personas.c.version,
        personas.c.conversation_id,
        personas.c.created_at,
    )
    .where(
        personas.c.owner == bindparam("owner"),
        personas.c.deleted_at.is_(None),
        personas.c.id < bindparam("before"),
    )
    .order_by(personas.c.id.desc())
    .limit(bindparam("limit"))
)
_NEWEST = (
    select(
        personas.c.id,
        personas.c.name,
        personas.c.brief,
        personas.c.version,
        personas.c.conversation_id,
        personas.c.created_at,
        persona_versions.c.skills,
        persona_versions.c.derived,
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
    .where(*_OWNED)
)
_HEAD = select(personas.c.version, personas.c.conversation_id).where(*_OWNED)
_SPANS = (
    select(
        persona_files.c.path,
        persona_files.c.bytes,
        persona_files.c.sha256,
        persona_files.c.since_version,
        persona_files.c.until_version,
    )
    .where(
        persona_files.c.persona_id == bindparam("persona"),
        persona_files.c.since_version <= bindparam("newest"),
        or_(
            persona_files.c.until_version.is_(None),
            persona_files.c.until_version > bindparam("oldest"),
        ),
    )
    .order_by(persona_files.c.path)
)
_VERSIONS = (
    select(
        persona_versions.c.version,
        persona_versions.c.generation_id,
        persona_versions.c.skills,
        persona_versions.c.created_at,
    )
    .where(
        persona_versions.c.persona_id == bindparam("persona"),
        persona_versions.c.version < bindparam("before"),
    )
    .order_by(persona_versions.c.version.desc())
    .limit(bindparam("limit"))
)
_CONTENT: Select[*tuple[Any, ...]] = select(
    persona_files.c.path, persona_files.c.content, persona_files.c.bytes, persona_files.c.sha256
).where(
    persona_files.c.persona_id == bindparam("persona"),
    persona_files.c.path == bindparam("file"),
    persona_files.c.since_version <= bindparam("at"),
    or_(persona_files.c.until_version.is_(None), persona_files.c.until_version > bindparam("at")),
)
_DELETE = (
    update(personas)
    .where(personas.c.id == bindparam("persona"), personas.c.deleted_at.is_(None))
    .values(deleted_at=now_ms())
)


async def list_personas(
    db: Database, owner: str, limit: int = 20, cursor: str | None = None
) -> Page[PersonaItem]:
    """A page of this owner's personas, newest first; raises InvalidRequest and Unavailable."""
    check_limit(limit)
    parameters = {"owner": owner, "before": before_id(cursor), "limit": limit + 1}
    rows = await db.fetch(_LIST, parameters)
    data = tuple(
        PersonaItem(row.id, row.name, row.version, row.conversation_id, rfc3339(row.created_at))
        for row in rows[:limit]
    )
    return Page(data, data[-1].id if len(rows) > limit else None)


async def read_persona(db: Database, owner: str, persona_id: str) -> PersonaResource:
    """The persona at its newest version, as one snapshot; raises NotFound and Unavailable."""
    parameters = {"persona": persona_id, "owner": owner}
    async with db.read() as connection:
        row = (await connection.execute(_NEWEST, parameters)).first()
        if row is None:
            raise NotFound(persona_id)
        spans = await _spans(connection, persona_id, row.version, row.version)
    return PersonaResource(
        id=row.id,
        name=row.name,
        brief=row.brief,
        version=row.version,
        files=tuple(file for file, _, _ in spans),
        skills=tuple(row.skills or ()),
        derived=row.derived or {},
        conversation_id=row.conversation_id,
        created_at=rfc3339(row.created_at),
    )


async def list_versions(
    db: Database, owner: str, persona_id: str, limit: int = 20, cursor: str | None = None
) -> Page[PersonaVersion]:
    """A page of the persona's versions, newest first, in one snapshot.

    Raises NotFound, InvalidRequest and Unavailable.
    """
    check_limit(limit)
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidRequest("cursor", "is not one that this list gave")
    before = 2**31 - 1 if cursor is None else int(cursor)
    parameters = {"persona": persona_id, "owner": owner, "before": before, "limit": limit + 1}
    async with db.read() as connection:
        if (await connection.execute(_HEAD, parameters)).first() is None:
            raise NotFound(persona_id)
        rows = (await connection.execute(_VERSIONS, parameters)).all()
        shown = rows[:limit]
        spans = []
        if shown:
            spans = await _spans(connection, persona_id, shown[-1].version, shown[0].version)
    data = tuple(
        PersonaVersion(
            version=row.version,
            generation_id=row.generation_id,
            files=tuple(
                file
                for file, since, until in spans
                if since <= row.version and (until is None or row.version < until)
            ),
            skills=tuple(row.skills),
            created_at=rfc3339(row.created_at),
        )
        for row in shown
    )
    return Page(data, str(data[-1].version) if len(rows) > limit else None)


async def read_file(
    db: Database, owner: str, persona_id: str, path: str, version: int | None = None
) -> FileContent:
    """A file of the persona at this version, None for the newest.

    Raises NotFound (for the persona's id, or the path where the version has no such file) and
    Unavailable.
    """
    parameters = {"persona": persona_id, "owner": owner, "file": path}
    async with db.read() as connection:
        head = (await connection.execute(_HEAD, parameters)).first()
        if head is None:
            raise NotFound(persona_id)
        at = head.version if version is None else version
        if not 1 <= at <= head.version:
            raise NotFound(path)
        row = (await connection.execute(_CONTENT, {**parameters, "at": at})).first()
        if row is None:
            raise NotFound(path)
    return FileContent(row.path, at, row.content, row.bytes, row.sha256)


async def delete_persona(db: Database, owner: str, persona_id: str) -> Deleted:
    """Hides the persona with its conversation, and cancels what runs or waits in it.

    Raises NotFound and Unavailable.
    """
    parameters = {"persona": persona_id, "owner": owner}

    async def delete(connection: AsyncConnection) -> Deleted:
        head = (await connection.execute(_HEAD, parameters)).first()
        if head is None:
            raise NotFound(persona_id)
        await lock_line(connection, conversation_id=head.conversation_id)
        if (await connection.execute(_DELETE, parameters)).rowcount == 0:
            raise NotFound(persona_id)
        cleared = await clear_line(connection, head.conversation_id)
        return Deleted(cleared.ended, cleared.stopping)

    return await db.write(delete)


async def _spans(
    connection: AsyncConnection, persona_id: str, oldest: int, newest: int
) -> list[tuple[PersonaFile, int, int | None]]:
    """The files of these versions, each with the span of versions that it is part of."""
    parameters = {"persona": persona_id, "oldest": oldest, "newest": newest}
    rows = (await connection.execute(_SPANS, parameters)).all()
    return [
        (PersonaFile(row.path, row.bytes, row.sha256), row.since_version, row.until_version)
        for row in rows
    ]
