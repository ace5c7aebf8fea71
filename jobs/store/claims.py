"""Claims: only the newest attempt runs a generation, and only from `queued` or past a lease."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec
from sqlalchemy import Update, and_, bindparam, case, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import CommitUnknown, Database, now_ms
from jobs.generation import Kind
from jobs.kinds import KindUnknown
from jobs.store.breakers import is_open, is_watched, may_probe, take_probe
from jobs.store.context import OPENS_CONVERSATION, Context, PersonaRow, read_context
from jobs.store.rows import IS_ACTIVE, IS_UNFINISHED, AnyRow
from jobs.store.workers import (
    Beat,
    beat,
    check_beats_can_be_stored,
    deregister_worker,
    forget_workers,
    holds_lease,
    register_worker,
)
from jobs.tables import generations

__all__ = [
    "Beat",
    "Claimed",
    "Context",
    "PersonaRow",
    "beat",
    "check_beats_can_be_stored",
    "claim",
    "deregister_worker",
    "forget_workers",
    "hand_over",
    "let_go",
    "read_context",
    "register_worker",
]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that this worker may now run, as its attempt `attempt`.

    `lost_attempts` counts the claims before it that ended without an orderly hand-over; `reset`
    is why its events open with a reset, None for attempt 1. Times are milliseconds since the
    epoch, by the database's clock. `watched`: failures are counted against its model where it was
    claimed; `probe`: its model's breaker is open, and this attempt tries it (protocol §8). `opens`:
    its conversation has no turns but its own, and goes on from no other.
    """

    id: str
    owner: str
    kind: Kind
    attempt: int
    model: str
    conversation_id: str
    persona_id: str | None
    input: str
    restartable: bool
    cancel_requested: bool
    lost_attempts: int
    reset: Literal["worker_lost", "handed_over"] | None
    previous_worker_id: str | None
    created_at: int
    started_at: int
    expires_at: int
    traceparent: str | None = None
    watched: bool = False
    opens: bool = False
    probe: bool = False


_CLAIMED = (
    generations.c.id,
    generations.c.owner,
    generations.c.kind,
    generations.c.attempt,
    generations.c.model,
    generations.c.conversation_id,
    generations.c.persona_id,
    generations.c.input,
    generations.c.restartable,
    generations.c.cancel_requested,
    generations.c.lost_attempts,
    generations.c.reset_reason.label("reset"),
    generations.c.previous_worker_id,
    generations.c.created_at,
    generations.c.started_at,
    generations.c.expires_at,
    generations.c.traceparent,
    is_watched().label("watched"),
    OPENS_CONVERSATION.label("opens"),
)

_was_queued = generations.c.state == "queued"

_CLAIM_WHATEVER_IS_OPEN = (
    update(generations)
    .where(
        generations.c.id == bindparam("generation"),
        generations.c.attempt == bindparam("seen"),
        IS_ACTIVE,
        or_(
            and_(_was_queued, generations.c.expires_at > now_ms()),
            and_(
                generations.c.state == "running",
                or_(generations.c.handed_over, ~holds_lease()),
            ),
        ),
    )
    .values(
        attempt=generations.c.attempt + 1,
        state="running",
        worker_id=bindparam("worker"),
        previous_worker_id=generations.c.worker_id,
        handed_over=False,
        lost_attempts=generations.c.lost_attempts
        + case((or_(_was_queued, generations.c.handed_over), 0), else_=1),
        reset_reason=case(
            (_was_queued, null()), (generations.c.handed_over, "handed_over"), else_="worker_lost"
        ),
        started_at=func.coalesce(generations.c.started_at, now_ms()),
    )
    .returning(*_CLAIMED)
)
# One that was claimed before goes on at once: its readers wait, and nothing would expire it.
_CLAIM = _CLAIM_WHATEVER_IS_OPEN.where(or_(~_was_queued, ~is_open()))


@lru_cache(maxsize=8)
def _claim_of(kinds: frozenset[str] | None, *, whatever_is_open: bool) -> Update:
    """The claim by who runs these kinds alone; by who only ends it, of any."""
    statement = _CLAIM_WHATEVER_IS_OPEN if whatever_is_open else _CLAIM
    if kinds is None:
        return statement
    # Not IN, whose words depend on its values: it would be compiled at every claim.
    return statement.where(or_(*(generations.c.kind == kind for kind in sorted(kinds))))


_KIND_OF_OFFERED = select(generations.c.kind).where(
    generations.c.id == bindparam("generation"),
    generations.c.attempt == bindparam("seen"),
    IS_UNFINISHED,
)
_MINE = select(*_CLAIMED).where(
    generations.c.id == bindparam("generation"),
    generations.c.attempt == bindparam("seen") + 1,
    generations.c.worker_id == bindparam("worker"),
    generations.c.state == "running",
)

_HAND_OVER = (
    update(generations)
    .where(
        generations.c.id == bindparam("generation"),
        generations.c.attempt == bindparam("claimed"),
        generations.c.state == "running",
    )
    .values(worker_id=None, handed_over=True)
)
_LET_GO = (
    update(generations)
    .where(
        generations.c.id == bindparam("generation"),
        generations.c.attempt == bindparam("claimed"),
        generations.c.state == "running",
    )
    .values(worker_id=None)
)


async def claim(
    db: Database,
    generation_id: str,
    seen_attempt: int,
    worker_id: str,
    *,
    lease_seconds: float,
    endpoint: str | None = None,
    probe_seconds: float = 60.0,
    kinds: frozenset[str] | None = None,
    ahead: Callable[[Claimed], None] | None = None,
) -> Claimed | None:
    """Makes the generation this worker's, or gives None when it may not be had.

    It may be had when its attempt is still the one seen, it holds its conversation's place, and it
    is queued and not overdue, or running and handed over or its worker silent for the lease. Of
    any number that claim the same attempt, one gets it.

    `endpoint` is where its model would be asked, None by whoever only ends it. Where the breaker
    before the two is open, a queued one is claimed as its one probe, for `probe_seconds` at most,
    or BreakerOpen is raised and it waits. `kinds` are those that the worker can run, None for any:
    KindUnknown is raised for another, which waits for a worker that can. Raises Unavailable; a
    claim that went through unnoticed then shows in `beat`.

    `ahead` may be given the claim while it is being stored, which seldom fails: nothing that it
    does may count before this returns.
    """
    parameters = {
        "generation": generation_id,
        "seen": seen_attempt,
        "worker": worker_id,
        "lease_ms": round(lease_seconds * 1000),
        "at_endpoint": endpoint,
    }

    take = _claim_of(kinds, whatever_is_open=False)

    def taken(rows: Sequence[AnyRow]) -> None:
        if rows and ahead is not None:
            ahead(_claimed(rows[0]))

    try:
        rows = await db.write_one(take, parameters, ahead=None if ahead is None else taken)
    except CommitUnknown:
        # Once more: it finds the row as it was, or taken, by this very claim perhaps.
        rows = await db.write_one(take, parameters) or await db.fetch(_MINE, parameters)
    if rows:
        return _claimed(rows[0])
    if kinds is not None:
        offered = await db.fetch(_KIND_OF_OFFERED, parameters)
        if offered and offered[0].kind not in kinds:
            raise KindUnknown(offered[0].kind)
    if endpoint is None or not await may_probe(db, endpoint, generation_id, seen_attempt):
        return None

    async def claim_as_probe(connection: AsyncConnection) -> Claimed:
        if not await take_probe(
            connection, endpoint, generation_id, seen_attempt, probe_seconds=probe_seconds
        ):
            raise _NotClaimed
        probing = _claim_of(kinds, whatever_is_open=True)
        row = (await connection.execute(probing, parameters)).first()
        if row is None:
            # Raised, so that the probe is not taken either.
            raise _NotClaimed
        return _claimed(row, probe=True)

    try:
        return await db.write_at_once(claim_as_probe)
    except _NotClaimed:
        return None


class _NotClaimed(Exception):
    """Another one is the probe, or has the generation."""


def _claimed(row: AnyRow, *, probe: bool = False) -> Claimed:
    fields = dict(row._mapping)
    told = {"kind": Kind(row.kind), "watched": bool(row.watched), "opens": bool(row.opens)}
    return Claimed(**{**fields, **told}, probe=probe)


async def hand_over(db: Database, generation_id: str, attempt: int) -> bool:
    """Gives a running generation back in order, so that anybody may claim it at once.

    False when a newer attempt has it or it has ended. Its state stays `running`.
    """
    parameters = {"generation": generation_id, "claimed": attempt}

    async def give(connection: AsyncConnection) -> bool:
        return (await connection.execute(_HAND_OVER, parameters)).rowcount == 1

    return await db.write_at_once(give)


async def let_go(db: Database, generation_id: str, attempt: int) -> None:
    """Gives up a running generation, which is lost from now on: that costs it this attempt.

    Nothing where a newer attempt has it or it has ended. Raises CommitUnknown.
    """
    await db.write_one(_LET_GO, {"generation": generation_id, "claimed": attempt})
