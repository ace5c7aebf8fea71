"""The derived content of newest versions: walked through by persona, and replaced."""

from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, func, select, update

from jobs.database import Database
from jobs.store.context import PersonaRow, newest_persona
from jobs.tables import persona_versions, personas

PERSONAS_A_PAGE = 100


class Derived(msgspec.Struct, frozen=True):
    """A persona at its newest version, and what is stored as derived from it."""

    persona: PersonaRow
    derived: dict[str, Any]


_HAVING_SOME = (
    personas.c.version > 0,
    personas.c.deleted_at.is_(None),
    personas.c.id > bindparam("after"),
)
_DERIVED = select(persona_versions.c.derived).where(
    persona_versions.c.persona_id == bindparam("persona"),
    persona_versions.c.version == bindparam("at"),
)
_REPLACE = (
    update(persona_versions)
    .where(
        persona_versions.c.persona_id == bindparam("persona"),
        persona_versions.c.version == bindparam("at"),
    )
    .values(derived=bindparam("derivation", type_=persona_versions.c.derived.type))
)


async def count_derived(db: Database, owner: str | None, after: str) -> int:
    """How many personas behind this id have a version; None counts everybody's."""
    rows = await db.fetch(
        _narrowed(select(func.count()).select_from(personas), owner),
        {"after": after, "owner": owner},
    )
    return int(rows[0][0])


async def next_derived(db: Database, owner: str | None, after: str) -> list[str]:
    """The ids of the next personas that have a version, in order; raises Unavailable."""
    page = _narrowed(select(personas.c.id), owner).order_by(personas.c.id).limit(PERSONAS_A_PAGE)
    return [row.id for row in await db.fetch(page, {"after": after, "owner": owner})]


async def read_derived(db: Database, persona_id: str) -> Derived | None:
    """It in one snapshot, None when it has no version (any more); raises Unavailable."""
    async with db.read() as connection:
        persona = await newest_persona(connection, persona_id)
        if persona is None:
            return None
        at = {"persona": persona_id, "at": persona.version}
        row = (await connection.execute(_DERIVED, at)).first()
    return None if row is None else Derived(persona, row.derived)


async def replace_derived(
    db: Database, persona_id: str, version: int, derived: dict[str, Any]
) -> None:
    """Stores it for this version, whose files never change; raises CommitUnknown."""
    await db.write_one(_REPLACE, {"persona": persona_id, "at": version, "derivation": derived})


def _narrowed(wanted: Select[Any], owner: str | None) -> Select[Any]:
    narrowed = wanted.where(*_HAVING_SOME)
    return narrowed if owner is None else narrowed.where(personas.c.owner == bindparam("owner"))
