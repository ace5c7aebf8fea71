"""A page of a list: newest first, and the cursor that the next page is asked for with."""

import re
from typing import Generic, TypeVar

import msgspec

from jobs.errors import InvalidRequest

T = TypeVar("T")

LIMIT_MOST = 100
_ID = re.compile(r"[a-z]{3}_[0-9a-z]{26}", re.ASCII)

# Sorts after every id, so that a first page needs no statement of its own.
AFTER_ALL_IDS = "~"


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list; `next_cursor` is None at its end, and else opaque to clients."""

    data: tuple[T, ...]
    next_cursor: str | None


def check_limit(limit: int) -> None:
    """Raises InvalidRequest unless a page may be this long."""
    if not 1 <= limit <= LIMIT_MOST:
        raise InvalidRequest("limit", f"must be between 1 and {LIMIT_MOST}")


def before_id(cursor: str | None) -> str:
    """The id that a page stays below; raises InvalidRequest for what is no cursor of ours."""
    if cursor is None:
        return AFTER_ALL_IDS
    if not _ID.fullmatch(cursor):
        raise InvalidRequest("cursor", "is not one that this list gave")
    return cursor
