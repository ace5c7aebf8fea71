"""One generation a request, however often its client tried: for clients without idempotency keys.

A client that counts its tries, but names none of them, is known by the owner and the words of its
request. Of two requests in the same words each finds a generation of its own again.
"""

import time
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.store.requests import NewGeneration, Tries
from jobs.tables import generations

# A name among PostgreSQL's advisory locks; the second number is the request's hash.
_LOCK = select(func.pg_advisory_xact_lock(50673, func.hashtext(bindparam("hash"))))
_SAME_REQUEST = (
    select(generations.c.id)
    .where(
        generations.c.owner == bindparam("owner"),
        # Alone, so that an index bounds what is looked at.
        generations.c.created_at >= now_ms() - bindparam("longest"),
        generations.c.idempotency_hash == bindparam("hash"),
        generations.c.hidden_at.is_(None),
        or_(
            and_(
                generations.c.tried < bindparam("times"),
                generations.c.created_at >= now_ms() - bindparam("within"),
            ),
            and_(
                generations.c.tried > bindparam("times"),
                generations.c.created_at >= now_ms() - bindparam("waited"),
            ),
        ),
    )
    .order_by(generations.c.created_at.desc())
    .limit(1)
)
_TRIED_AGAIN = (
    update(generations)
    .where(generations.c.id == bindparam("generation"), generations.c.tried < bindparam("times"))
    .values(tried=bindparam("times"))
)


async def lock_tries(connection: AsyncConnection, new: NewGeneration) -> None:
    """Makes a try wait for the one before it, whose row it could not see otherwise."""
    if new.tries is not None and connection.dialect.name != "sqlite":
        await connection.execute(_LOCK, {"hash": new.idempotency_hash})


async def find_other_try(connection: AsyncConnection, new: NewGeneration) -> str | None:
    """The generation that another try of this request stored, if any; `lock_tries` came before."""
    if new.tries is None:
        return None
    found = (await connection.execute(_SAME_REQUEST, _parameters(new, new.tries))).scalar()
    if found is None:
        return None
    # No other request in these words may take it for its own after the same number of tries.
    taken = {"generation": found, "times": new.tries.before}
    await connection.execute(_TRIED_AGAIN, taken)
    return str(found)


async def next_would_find(db: Database, new: NewGeneration) -> bool:
    """Whether one more try of this refused request would take another's generation for its own.

    Raises Unavailable.
    """
    if new.tries is None:
        return False
    following = msgspec.structs.replace(new.tries, before=new.tries.before + 1)
    return bool(await db.fetch(_SAME_REQUEST, _parameters(new, following)))


def _parameters(new: NewGeneration, tries: Tries) -> dict[str, Any]:
    within = round(tries.before * tries.longest * 1000)
    waited = round((time.monotonic() - tries.since) * 1000)
    return {
        "owner": new.owner,
        "hash": new.idempotency_hash,
        "times": tries.before,
        "within": within,
        "waited": waited,
        "longest": max(within, waited),
    }
