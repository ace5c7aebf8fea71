"""Who works on generations that somebody follows: asked for many at once, told where it is unusual.

Nearly all that are followed in silence are at work for the first time. A row that says so is not
read into Python at all, where it costs three times as much as in SQL.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from sqlalchemy import String, and_, bindparam, case, not_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from jobs.database import Database
from jobs.generation import State
from jobs.store.workers import has_no_lease, holds_lease
from jobs.tables import generations

WorkerSign = Literal["alive", "lost", "none"]
"""`none`: nobody has it, for it is queued, handed over or ended."""


class Standing(msgspec.Struct, frozen=True):
    """Where a generation stands, for whoever follows it."""

    state: State
    attempt: int
    worker: WorkerSign


AT_WORK = Standing(State.RUNNING, 1, "alive")
"""Where nearly all stand that somebody follows."""


class json_texts(FunctionElement[str]):
    """The strings of a JSON array as rows: one parameter, one statement, for any number of ids."""

    type = String()
    inherit_cache = True


@compiles(json_texts, "sqlite")
def _texts_in_sqlite(element: json_texts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(json_texts, "postgresql")
def _texts_in_postgresql(element: json_texts, compiler: SQLCompiler, **options: Any) -> str:
    listed = compiler.process(element.clauses, **options)
    return f"json_array_elements_text(CAST({listed} AS JSON))"


HELD = case(
    (and_(generations.c.state == "running", ~generations.c.handed_over), holds_lease())
).label("held")
"""Whether its worker's lease holds (the parameter `lease_ms`); NULL where no worker has it."""

_asked = json_texts(bindparam("ids", type_=String)).table_valued("value")
_UNUSUAL = (
    select(_asked.c.value.label("id"), generations.c.state, generations.c.attempt, HELD)
    .select_from(_asked.outerjoin(generations, generations.c.id == _asked.c.value))
    .where(
        or_(
            generations.c.id.is_(None),
            not_(
                and_(
                    generations.c.state == AT_WORK.state.value,
                    generations.c.attempt == AT_WORK.attempt,
                    ~generations.c.handed_over,
                    not_(has_no_lease()),
                )
            ),
        )
    )
)


async def read_unusual(
    db: Database, generation_ids: Iterable[str], *, lease_seconds: float
) -> dict[str, Standing | None]:
    """Where those of these generations stand that are not AT_WORK; None for what is not there.

    In one statement for any number; raises Unavailable.
    """
    ids = msgspec.json.encode(sorted(set(generation_ids))).decode()
    rows = await db.fetch(_UNUSUAL, {"ids": ids, "lease_ms": round(lease_seconds * 1000)})
    return {
        row.id: None
        if row.state is None
        else Standing(State(row.state), row.attempt, sign_of(row.held))
        for row in rows
    }


def sign_of(held: bool | None) -> WorkerSign:
    """What HELD means to a reader."""
    return "none" if held is None else "alive" if held else "lost"
