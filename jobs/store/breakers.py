"""Circuit breakers: one row an endpoint and model that fails, shared by all workers (protocol §8).

No row means closed and without a failure, so a model that answers costs no statement. A row counts
the failures in a row; with `opened_at` it is open: what is queued for it is not claimed until
`retry_at`, and from then on by one probe at a time, which has until `probe_until`.
"""

from typing import Literal

import msgspec
from sqlalchemy import (
    ColumnElement,
    String,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, now_ms
from jobs.errors import JobsError
from jobs.store.rows import IS_ACTIVE, IS_UNFINISHED
from jobs.tables import breakers, generations


class BreakerOpen(JobsError):
    """A queued generation can't be claimed now, since its model's endpoint does not answer.

    `wait_seconds` is the time until a probe may be claimed; 0 while one is under way.
    """

    def __init__(self, model: str, wait_seconds: float) -> None:
        super().__init__(f"the breaker of {model} is open")
        self.model = model
        self.wait_seconds = wait_seconds


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """One breaker as it stands; times are milliseconds since the epoch by the database's clock.

    It is `closed` while it only counts failures, and `half_open` from `retry_at` on. `waiting` is
    how many queued generations name its model.
    """

    endpoint: str
    model: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    opened_at: int | None
    retry_at: int | None
    probe: str | None
    waiting: int


_endpoint: ColumnElement[str | None] = bindparam("at_endpoint", type_=String)
_is_open = breakers.c.opened_at.is_not(None)
_is_shut = or_(breakers.c.retry_at > now_ms(), func.coalesce(breakers.c.probe_until, 0) > now_ms())
_pause_ms = breakers.c.retry_at - now_ms()


_at_endpoint = breakers.c.endpoint == _endpoint


def _is_one_of(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a generation's model has such a breaker."""
    # Not correlated: SQLite's RETURNING leaves out the tables' names, which would be ambiguous.
    return generations.c.model.in_(select(breakers.c.model).where(*conditions))


def is_watched() -> ColumnElement[bool]:
    """Whether failures are counted against a generation's model, at parameter `at_endpoint`."""
    return _is_one_of(_at_endpoint)


def is_open() -> ColumnElement[bool]:
    """Whether the breaker of a generation's model is open, at parameter `at_endpoint`."""
    return _is_one_of(_at_endpoint, _is_open)


def is_shut() -> ColumnElement[bool]:
    """Whether it is open and takes no probe, at parameter `at_endpoint`; where null, at any."""
    return _is_one_of(or_(_endpoint.is_(None), _at_endpoint), _is_open, _is_shut)


_CLAIMABLE = (
    generations.c.id == bindparam("generation"),
    generations.c.attempt == bindparam("seen"),
    generations.c.state == "queued",
    IS_ACTIVE,
    generations.c.expires_at > now_ms(),
)
_STANDING = (
    select(breakers.c.model, _is_shut.label("shut"), _pause_ms.label("pause_ms"))
    .select_from(generations.join(breakers, breakers.c.model == generations.c.model))
    .where(*_CLAIMABLE, _at_endpoint, _is_open)
)
_TAKE_PROBE = (
    update(breakers)
    .where(
        _at_endpoint,
        breakers.c.model == select(generations.c.model).where(*_CLAIMABLE).scalar_subquery(),
        _is_open,
        ~_is_shut,
    )
    .values(
        probe=bindparam("holder"),
        probe_until=now_ms() + bindparam("probe_ms"),
        changed_at=now_ms(),
    )
)
_OPEN_MODELS = select(breakers.c.model).where(_is_open).distinct()
ALL_BREAKERS = select(
    breakers.c.endpoint,
    breakers.c.model,
    case(
        (breakers.c.opened_at.is_(None), "closed"),
        (breakers.c.retry_at > now_ms(), "open"),
        else_="half_open",
    ).label("state"),
    breakers.c.failures,
    breakers.c.opened_at,
    breakers.c.retry_at,
    breakers.c.probe,
    select(func.count())
    .select_from(generations)
    .where(
        IS_UNFINISHED,
        generations.c.state == "queued",
        generations.c.model == breakers.c.model,
    )
    .correlate(breakers)
    .scalar_subquery()
    .label("waiting"),
).order_by(breakers.c.endpoint, breakers.c.model)
"""Every breaker that has a failure: the fields of Breaker."""


async def may_probe(db: Database, endpoint: str, generation_id: str, seen_attempt: int) -> bool:
    """Whether a claim that was refused may be tried as the probe of its model's breaker.

    False when no open breaker stands before it. Raises BreakerOpen when one does and takes no
    probe now, and Unavailable.
    """
    parameters = {"at_endpoint": endpoint, "generation": generation_id, "seen": seen_attempt}
    rows = await db.fetch(_STANDING, parameters)
    if rows and rows[0].shut:
        raise BreakerOpen(rows[0].model, max(0, rows[0].pause_ms) / 1000)
    return bool(rows)


async def take_probe(
    connection: AsyncConnection,
    endpoint: str,
    generation_id: str,
    seen_attempt: int,
    *,
    probe_seconds: float,
) -> bool:
    """Makes the next attempt of a queued generation the one probe; False when another is.

    It is the probe for `probe_seconds` at most, so that a lost worker's blocks nothing for ever.
    """
    parameters = {
        "at_endpoint": endpoint,
        "generation": generation_id,
        "seen": seen_attempt,
        "holder": holder(generation_id, seen_attempt + 1),
        "probe_ms": round(probe_seconds * 1000),
    }
    return (await connection.execute(_TAKE_PROBE, parameters)).rowcount == 1


async def open_models(db: Database) -> frozenset[str]:
    """The models before which a breaker is open, at whichever endpoint; raises Unavailable."""
    return frozenset(row.model for row in await db.fetch(_OPEN_MODELS))


async def read_breakers(db: Database) -> tuple[Breaker, ...]:
    """Every breaker that has a failure, for metrics and for people; raises Unavailable."""
    return tuple(Breaker(**row._mapping) for row in await db.fetch(ALL_BREAKERS))


def holder(generation_id: str, attempt: int) -> str:
    """The name of an attempt among probes."""
    return f"{generation_id}:{attempt}"
