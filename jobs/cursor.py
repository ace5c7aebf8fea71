"""Where a reader is in a generation's events: `<attempt>.<seq>.<offset>` (protocol §5)."""

import re

import msgspec

_GRAMMAR = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})", re.ASCII)


class Cursor(msgspec.Struct, frozen=True, order=True, gc=False):
    """The id of an event: everything up to and including it was seen.

    `seq` is dense from 1 in an attempt, 0 means before its first event; `offset` counts the code
    points of the attempt's token text so far.
    """

    attempt: int
    seq: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.seq}.{self.offset}"


def parse_cursor(text: str) -> Cursor | None:
    """The cursor that this text writes in its one canonical form, or None."""
    match = _GRAMMAR.fullmatch(text)
    return Cursor(*map(int, match.groups())) if match else None
