"""A conversation as one snapshot: its turns, its active generation, and those that wait."""

import msgspec
from sqlalchemy import and_, bindparam, select

from jobs.database import Database
from jobs.errors import NotFound
from jobs.generation import Generation, rfc3339
from jobs.store.rows import IS_UNFINISHED, SELECT_RESOURCE, generation_of
from jobs.tables import conversations, generations, personas, turns


class TurnResource(msgspec.Struct, frozen=True):
    """A durable message; `partial` when its generation did not complete."""

    id: str
    role: str
    text: str
    partial: bool
    generation_id: str
    created_at: str


class ConversationResource(msgspec.Struct, frozen=True):
    """The resource of protocol §4: all that a page needs after a reload."""

    id: str
    persona_id: str | None
    turns: tuple[TurnResource, ...]
    active_generation: Generation | None
    waiting: tuple[Generation, ...]


_CONVERSATION = (
    select(conversations.c.id, conversations.c.persona_id)
    .select_from(conversations.outerjoin(personas, personas.c.id == conversations.c.persona_id))
    .where(
        conversations.c.id == bindparam("conversation"),
        conversations.c.owner == bindparam("owner"),
        personas.c.deleted_at.is_(None),
    )
)
_TURNS = (
    select(
        turns.c.id,
        turns.c.role,
        turns.c.text,
        turns.c.partial,
        turns.c.generation_id,
        turns.c.created_at,
    )
    .where(turns.c.conversation_id == bindparam("conversation"))
    .order_by(turns.c.position)
)
_LINE = (
    SELECT_RESOURCE.add_columns(generations.c.active)
    .where(and_(generations.c.conversation_id == bindparam("conversation"), IS_UNFINISHED))
    .order_by(generations.c.created_at, generations.c.id)
)


async def read_conversation(db: Database, owner: str, conversation_id: str) -> ConversationResource:
    """The conversation in one snapshot; a deleted persona's is gone with it.

    Raises NotFound and Unavailable.
    """
    parameters = {"conversation": conversation_id, "owner": owner}
    async with db.read() as connection:
        row = (await connection.execute(_CONVERSATION, parameters)).first()
        if row is None:
            raise NotFound(conversation_id)
        messages = (await connection.execute(_TURNS, parameters)).all()
        line = (await connection.execute(_LINE, parameters)).all()
    return ConversationResource(
        id=row.id,
        persona_id=row.persona_id,
        turns=tuple(
            TurnResource(
                id=turn.id,
                role=turn.role,
                text=turn.text,
                partial=turn.partial,
                generation_id=turn.generation_id,
                created_at=rfc3339(turn.created_at),
            )
            for turn in messages
        ),
        active_generation=next(
            (generation_of(one, one.answer) for one in line if one.active), None
        ),
        waiting=tuple(generation_of(one, one.answer) for one in line if not one.active),
    )
