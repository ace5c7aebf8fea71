"""What a claimed generation's model is shown: earlier pairs of turns, and the persona."""

from typing import Protocol

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.store.branches import FORKED_AT
from jobs.tables import (
    conversations,
    persona_files,
    persona_versions,
    personas,
    turns,
)


class PersonaRow(msgspec.Struct, frozen=True, kw_only=True):
    """A persona at its newest version: its files' contents by path, the ids of its skills."""

    id: str
    name: str
    brief: str
    version: int
    files: dict[str, str]
    skills: tuple[str, ...]


class Context(msgspec.Struct, frozen=True):
    """`history`: pairs of user and assistant text, oldest first; `persona`: its own, if any."""

    history: tuple[tuple[str, str], ...]
    persona: PersonaRow | None


NO_CONTEXT = Context((), None)
"""What a chat is shown that opens its conversation."""


class _Asker(Protocol):
    """The part of a claim that says what its context is."""

    @property
    def id(self) -> str: ...
    @property
    def conversation_id(self) -> str: ...
    @property
    def persona_id(self) -> str | None: ...
    @property
    def opens(self) -> bool: ...


# In words of its own: what SQLite returns of an update names no tables, and here both have an id.
OPENS_CONVERSATION: ColumnElement[bool] = literal_column(
    "NOT EXISTS (SELECT 1 FROM turns WHERE turns.conversation_id = generations.conversation_id"
    " AND turns.generation_id <> generations.id)"
    " AND NOT EXISTS (SELECT 1 FROM conversations WHERE conversations.forked_from IS NOT NULL"
    " AND conversations.id = generations.conversation_id)"
)
"""Whether a claimed generation is the first of a conversation that goes on from no other."""

_NEWEST_TURNS = (
    select(turns.c.generation_id, turns.c.role, turns.c.text, conversations.c.forked_from)
    .select_from(turns.join(conversations))
    .where(
        turns.c.conversation_id == bindparam("conversation"),
        turns.c.position <= bindparam("upto"),
    )
    .order_by(turns.c.position.desc())
)
_NEWEST = 2**31 - 1
_PERSONA = (
    select(
        personas.c.id,
        personas.c.name,
        personas.c.brief,
        personas.c.version,
        persona_versions.c.skills,
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
    .where(personas.c.id == bindparam("persona"))
)
_FILES = (
    select(persona_files.c.path, persona_files.c.content)
    .where(
        persona_files.c.persona_id == bindparam("persona"), persona_files.c.until_version.is_(None)
    )
    .order_by(persona_files.c.path)
)


def has_no_context(claimed: _Asker) -> bool:
    """Whether the model is to see nothing but what was said to it now."""
    return claimed.opens and claimed.persona_id is None


async def read_context(db: Database, claimed: _Asker, *, history_characters: int) -> Context:
    """What the model is to see, as one snapshot; raises Unavailable.

    History is cut at the first pair, from the newest on, that would bring it over this many
    characters; a user turn without an answer is left out, a partial answer is not. Of a chat that
    opens its conversation there is nothing, and nothing is read.
    """
    if has_no_context(claimed):
        return NO_CONTEXT

    async def read(connection: AsyncConnection) -> Context:
        history = await _history(connection, claimed, history_characters)
        persona = None
        if claimed.persona_id is not None:
            persona = await newest_persona(connection, claimed.persona_id)
        return Context(history, persona)

    return await db.read_at_once(read)


async def _history(
    connection: AsyncConnection, claimed: _Asker, characters: int
) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    answer: tuple[str, str] | None = None
    conversation_id: str | None = claimed.conversation_id
    upto = _NEWEST
    while conversation_id is not None:
        forked_from: str | None = None
        # Streamed: a long conversation is read only as far back as the limit lets it be shown.
        rows = await connection.stream(
            _NEWEST_TURNS, {"conversation": conversation_id, "upto": upto}
        )
        try:
            async for generation_id, role, text, branches_off in rows:
                forked_from = branches_off
                if generation_id == claimed.id:
                    continue
                if role == "assistant":
                    answer = (generation_id, text)
                elif answer is not None and answer[0] == generation_id:
                    characters -= len(text) + len(answer[1])
                    if characters < 0:
                        return tuple(reversed(pairs))
                    pairs.append((text, answer[1]))
        finally:
            await rows.close()
        conversation_id = None
        if forked_from is not None:
            at = (await connection.execute(FORKED_AT, {"generation": forked_from})).first()
            # Retention may have deleted what it went on from at that very moment.
            conversation_id, upto = at or (None, 0)
    return tuple(reversed(pairs))


async def newest_persona(connection: AsyncConnection, persona_id: str) -> PersonaRow | None:
    """The persona at its newest version, whoever's it is and deleted or not; None for no row."""
    parameters = {"persona": persona_id}
    row = (await connection.execute(_PERSONA, parameters)).first()
    if row is None:
        return None
    files = {}
    if row.version > 0:
        files = dict((await connection.execute(_FILES, parameters)).all())
    return PersonaRow(
        id=row.id,
        name=row.name,
        brief=row.brief,
        version=row.version,
        files=files,
        skills=tuple(row.skills or ()),
    )
