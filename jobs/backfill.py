"""Derived content is rebuilt with this version's rules, persona after persona, without a hurry.

Safe beside everything that runs: a version's files never change, so what is derived from them is
the same whenever it is computed.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from jobs.database import Database
from jobs.store.derived import next_derived, read_derived, replace_derived
from persona_apply import Catalogue, Persona, PersonaError, derive

Became = Literal["same", "rebuilt", "refused"]


class Step(msgspec.Struct, frozen=True):
    """What became of a persona; `reason` says why its stored content can't be derived from."""

    persona_id: str
    became: Became
    reason: str | None = None


async def rebuild_derived(
    db: Database,
    *,
    owner: str | None = None,
    after: str = "",
    per_second: float = 50.0,
    dry_run: bool = False,
    catalogue: Catalogue | None = None,
) -> AsyncIterator[Step]:
    """Walks through the newest versions behind this id, at most so many a second.

    One is written only where it differs, so a walk that is begun anew repeats no write; `after`
    the last step it goes on. A dry run writes nothing. Raises Unavailable and CommitUnknown.
    """
    rules = catalogue or Catalogue.default()
    due = time.monotonic()
    while ids := await next_derived(db, owner, after):
        for after in ids:
            await asyncio.sleep(due - time.monotonic())
            due = max(due, time.monotonic() - 1) + 1 / per_second
            yield await _rebuild(db, after, rules, dry_run)


async def _rebuild(db: Database, persona_id: str, rules: Catalogue, dry_run: bool) -> Step:
    stored = await read_derived(db, persona_id)
    if stored is None:
        return Step(persona_id, "same")
    row = stored.persona
    try:
        derived = derive(Persona(row.name, row.brief, row.files, row.skills), rules)
    except PersonaError as error:
        return Step(persona_id, "refused", error.message)
    if _text(derived) == _text(stored.derived):
        return Step(persona_id, "same")
    if not dry_run:
        await replace_derived(db, persona_id, row.version, derived)
    return Step(persona_id, "rebuilt")


def _text(derived: dict[str, Any]) -> str:
    # With the order of its keys, which is part of what is promised.
    return json.dumps(derived)
