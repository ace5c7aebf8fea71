"""The database's clock, by which all that is stored is dated: those of processes may differ."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class now_ms(FunctionElement[int]):
    """The database's clock, in milliseconds since the epoch."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _now_in_sqlite(element: now_ms, compiler: SQLCompiler, **_: Any) -> str:
    # Rounded: a Julian day as a double is off by some 20 µs, and a cut would lose a millisecond.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_in_postgresql(element: now_ms, compiler: SQLCompiler, **_: Any) -> str:
    # A subquery is evaluated once a statement; a bare volatile function could use no index.
    return "(SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT))"
