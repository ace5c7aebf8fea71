"""Names of stored things: a prefix for the kind, then a ULID, which sorts by time (protocol §4)."""

from typing import Literal

from ulid import ULID

Prefix = Literal["gen", "per", "con", "trn", "wrk"]


def new_id(prefix: Prefix) -> str:
    """A fresh id such as `gen_01j…`.

    Ids made later by one process sort after earlier ones, also within a millisecond; over several
    processes, and where a clock steps back, as the clocks tell.
    """
    return f"{prefix}_{str(ULID()).lower()}"
