"""The sliding-minute limits, counted over stored rows by the database's clock (protocol §8).

Exact under concurrency: whoever counts holds a lock until its transaction ends, one an owner, and
one for all only where a total limit is set. (SQLite has one writer at a time anyway.)
"""

import math
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, bindparam, cast, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import now_ms
from jobs.errors import OverBudget
from jobs.store.rows import AnyRow
from jobs.tables import generations

WINDOW_MS = 60_000

# Names among PostgreSQL's advisory locks; the second number is the owner's hash, or 0.
_LOCK_OWNER = func.pg_advisory_xact_lock(50671, func.hashtext(bindparam("owner")))
_LOCK_TOTAL = func.pg_advisory_xact_lock(50672, 0)


class Budget(msgspec.Struct, frozen=True):
    """How much a sliding minute may hold, for one owner and in all; 0 is no limit."""

    owner_generations: int = 0
    total_generations: int = 0
    owner_tokens: int = 0
    total_tokens: int = 0

    @property
    def limited(self) -> tuple[str, ...]:
        """The names of the limits that are set, the owner's first."""
        names = ("owner_generations", "owner_tokens", "total_generations", "total_tokens")
        return tuple(name for name in names if getattr(self, name) > 0)

    def parameters(self) -> dict[str, int]:
        """What the expressions of `usage_columns` are bound to."""
        skipped = {
            f"{name}_skip": getattr(self, name) - 1
            for name in self.limited
            if name.endswith("generations")
        }
        return {**skipped, "window": WINDOW_MS}


async def lock_budget(connection: AsyncConnection, owner: str, budget: Budget) -> None:
    """Makes counting and inserting one step for everybody who shares a limit."""
    if connection.dialect.name == "sqlite" or not budget.limited:
        return
    total = budget.total_generations > 0 or budget.total_tokens > 0
    await connection.execute(_LOCK_BOTH if total else _LOCK_ONE, {"owner": owner})


_LOCK_ONE = select(_LOCK_OWNER)
_LOCK_BOTH = select(_LOCK_OWNER, _LOCK_TOTAL)


def usage_columns(limited: tuple[str, ...]) -> list[ColumnElement[Any]]:
    """One or two columns a limit, to be selected together: what `check_budget` looks at."""
    columns: list[ColumnElement[Any]] = []
    for name in limited:
        scope, unit = name.split("_")
        moment = generations.c.created_at if unit == "generations" else generations.c.finished_at
        counted = select(moment).where(moment > now_ms() - bindparam("window"))
        if scope == "owner":
            counted = counted.where(generations.c.owner == bindparam("owner"))
        if unit == "generations":
            # The row that fills the limit, counted from the newest: it must leave the window.
            nth = counted.order_by(moment.desc()).limit(literal_column("1"))
            columns.append(nth.offset(bindparam(f"{name}_skip")).scalar_subquery().label(name))
        else:
            # A model may tell any number: two that fit their columns are too large together.
            tokens = cast(generations.c.input_tokens, BigInteger) + generations.c.output_tokens
            spent = counted.where(tokens > 0)
            columns.append(spent.with_only_columns(func.sum(tokens)).scalar_subquery().label(name))
            oldest = spent.with_only_columns(func.min(moment)).scalar_subquery()
            columns.append(oldest.label(f"{name}_since"))
    if limited:
        columns.append(now_ms().label("now"))
    return columns


def check_budget(budget: Budget, row: AnyRow) -> None:
    """Raises OverBudget for the first limit that is used up."""
    found = row._mapping
    for name in budget.limited:
        scope, unit = name.split("_")
        limit = getattr(budget, name)
        if unit == "generations":
            since = found[name]
        else:
            since = found[f"{name}_since"] if (found[name] or 0) >= limit else None
        if since is not None:
            wait = (since + WINDOW_MS - found["now"]) / 1000
            raise OverBudget(scope, unit, limit, max(1, math.ceil(wait)))
