"""A request becomes a stored generation, or nothing is stored (protocol §4, §8).

Everything is decided inside the inserting transaction, and what two requests decide at the same
instant is settled by unique constraints: the loser starts anew and finds what the winner stored.
"""

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import bindparam, select

from jobs.database import CommitUnknown, Database, UniqueViolation
from jobs.errors import OutcomeUnknown, Unavailable
from jobs.store.admission import Admission
from jobs.store.budget import Budget
from jobs.store.requests import Accepted, NewGeneration, refuse_unfit
from jobs.tables import generations

__all__ = ["Accepted", "Budget", "NewGeneration", "accept", "knows_key"]

# How often, and with which pauses, an unknown commit is looked into before it is given up.
_PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0, 1.5)
# After which no further try is begun: one takes 10 s, and a proxy before this may wait for 60.
_LOOKED_INTO_SECONDS = 15.0
# Lost races for a unique constraint: each one means that another request was stored.
_RACES = 20
_UNDER_KEY = select(generations.c.id).where(
    generations.c.owner == bindparam("owner"), generations.c.idempotency_key == bindparam("key")
)


async def accept(
    db: Database,
    new: NewGeneration,
    *,
    generation_id: str,
    budget: Budget,
    expires_seconds: float,
    ahead: Callable[[Accepted], None] | None = None,
) -> Accepted:
    """Stores the generation, or the refusal that comes first is raised and nothing is stored.

    In this order: InvalidRequest for what can be told without looking, NotFound, InvalidRequest
    for a conversation that doesn't fit, CascadeTooDeep, the idempotent replay or
    IdempotencyKeyReused, OverBudget, GenerationActive. Then Unavailable (nothing was stored), or
    OutcomeUnknown when the database did not tell within 25 s whether it committed.

    `ahead` is told, as by `Database.write_at_once`, of what is on its way to the disk, once a try:
    it is stored if that very object is returned.
    """
    refuse_unfit(new)
    admission = Admission(new, generation_id, budget, round(expires_seconds * 1000))
    pauses, until = iter(_PAUSES_SECONDS), time.monotonic() + _LOOKED_INTO_SECONDS
    for _ in range(_RACES):
        try:
            return await db.write_at_once(admission.run, ahead=ahead)
        except UniqueViolation:
            continue
        except CommitUnknown:
            # The same again under the same id: it waits for a commit still under way, then finds
            # the row or makes it. So the answer is exact as soon as the database is back.
            admission.unknown = True
        except Unavailable:
            if not admission.unknown:
                raise
        pause = next(pauses, None)
        if pause is None or time.monotonic() >= until:
            raise OutcomeUnknown(generation_id)
        await asyncio.sleep(pause)
    raise Unavailable("the database")


async def knows_key(db: Database, owner: str, idempotency_key: str) -> bool:
    """Whether a request with this key would store nothing: it is a replay, or its key is reused.

    Keys are kept as long as their generations, so what is known stays so. Raises Unavailable.
    """
    return bool(await db.fetch(_UNDER_KEY, {"owner": owner, "key": idempotency_key}))
