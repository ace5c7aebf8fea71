"""Where a generation stands in its conversation, and what it is to go on from it.

It stands after its own last turn; one that never had a turn, after those that were there when it
came.
"""

from sqlalchemy import ColumnElement, bindparam, func, select

from jobs.tables import conversations, generations, turns

_own = turns.alias("own")
_before = turns.alias("before")
_after = turns.alias("after")


def _last_position() -> ColumnElement[int]:
    """The position of the last turn up to the generation of the enclosing statement."""
    own = select(func.max(_own.c.position)).where(_own.c.generation_id == generations.c.id)
    before = select(func.max(_before.c.position)).where(
        _before.c.conversation_id == generations.c.conversation_id,
        _before.c.created_at <= generations.c.created_at,
    )
    own, before = own.correlate(generations), before.correlate(generations)
    return func.coalesce(own.scalar_subquery(), before.scalar_subquery(), 0)


CONVERSATION_OF = (
    select(conversations.c.id, conversations.c.persona_id)
    .where(
        conversations.c.id
        == select(generations.c.conversation_id)
        .where(generations.c.id == bindparam("id"), generations.c.owner == bindparam("owner"))
        .scalar_subquery()
    )
    .with_for_update(key_share=True)
)
"""The conversation of an owner's generation, its line locked."""

FOLLOWED = select(
    generations.c.state,
    select(_after.c.id)
    .where(
        _after.c.conversation_id == generations.c.conversation_id,
        _after.c.position > _last_position(),
    )
    .correlate(generations)
    .exists()
    .label("has_later"),
).where(generations.c.id == bindparam("id"))
"""How a generation stands, and whether its conversation has gone on without it."""

FORKED_AT = select(generations.c.conversation_id, _last_position().label("position")).where(
    generations.c.id == bindparam("generation")
)
"""The conversation that another one branches off after this generation, and up to where."""
