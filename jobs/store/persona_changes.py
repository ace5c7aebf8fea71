"""The next version of a persona, stored as the difference from the one before."""

import hashlib
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import now_ms
from jobs.store.rows import AnyRow
from jobs.tables import persona_files, persona_versions, personas


class PersonaChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation changed: files by path, and all skills and derived content of the next."""

    written: dict[str, str]
    deleted: tuple[str, ...]
    skills: tuple[str, ...]
    derived: dict[str, Any]


_NEXT_VERSION = (
    update(personas).where(personas.c.id == bindparam("persona")).values(version=bindparam("next"))
)
_ADD_VERSION = insert(persona_versions).values(
    persona_id=bindparam("persona"),
    version=bindparam("next"),
    generation_id=bindparam("generation"),
    skills=bindparam("skill_list", type_=persona_versions.c.skills.type),
    derived=bindparam("derivation", type_=persona_versions.c.derived.type),
    created_at=now_ms(),
)
_END_FILE = (
    update(persona_files)
    .where(
        persona_files.c.persona_id == bindparam("persona"),
        persona_files.c.path == bindparam("file"),
        persona_files.c.until_version.is_(None),
    )
    .values(until_version=bindparam("next"))
)
_ADD_FILE = insert(persona_files).values(
    persona_id=bindparam("persona"),
    path=bindparam("file"),
    since_version=bindparam("next"),
    content=bindparam("text"),
    bytes=bindparam("size"),
    sha256=bindparam("hash"),
)


async def store_change(
    connection: AsyncConnection, generation: AnyRow, change: PersonaChange
) -> None:
    """Stores the version that the generation's row names; its conversation's line is locked."""
    version = {"persona": generation.persona_id, "next": generation.persona_version}
    await connection.execute(_NEXT_VERSION, version)
    described = {
        "generation": generation.id,
        "skill_list": list(change.skills),
        "derivation": change.derived,
    }
    await connection.execute(_ADD_VERSION, {**version, **described})
    ended = [{**version, "file": path} for path in sorted({*change.written, *change.deleted})]
    if ended and generation.persona_version > 1:
        await connection.execute(_END_FILE, ended)
    added = [
        {**version, "file": path, "text": text, "size": len(content), "hash": _sha256(content)}
        for path, text in sorted(change.written.items())
        for content in (text.encode(),)
    ]
    if added:
        await connection.execute(_ADD_FILE, added)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
