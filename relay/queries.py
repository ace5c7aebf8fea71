"""What a URL and a header may say: each parameter read and refused by name (protocol §4).

Parameters that are not known are ignored.
"""

import re
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from jobs.errors import NotFound
from jobs.generation import Kind
from jobs.kinds import Kinds
from jobs.store.reads import NO_PERSONA
from relay.errors import InvalidField

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_VERSION = 10**9

# The lengths keep out the line end that `$` lets pass.
Id = Annotated[str, Meta(min_length=30, max_length=30, pattern=r"^[a-z]{3}_[0-9a-z]{26}$")]
PageLimit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
VersionNumber = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]

_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)

E = TypeVar("E", bound=StrEnum)


def path_id(request: Request, name: str = "id") -> str:
    """The id in the request's path; NotFound for what can't be one, without asking a database."""
    value: str = request.path_params[name]
    if not _is_a(Id, value):
        raise NotFound(value)
    return value


def body_id(value: str | None) -> str | None:
    """An id from a body; NotFound for what can't be one."""
    if value is not None and not _is_a(Id, value):
        raise NotFound(value)
    return value


def choice(request: Request, name: str, kind: type[E]) -> E | None:
    """One of an enumeration's values, or None; InvalidField for another."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        return kind(given)
    except ValueError:
        raise InvalidField(name, f"must be one of {', '.join(kind)}") from None


def known_kind(request: Request, kinds: Kinds) -> Kind | None:
    """The kind that is meant, or None; InvalidField for one that is not known here."""
    given = request.query_params.get("kind")
    if given is None:
        return None
    if given not in kinds.names:
        raise InvalidField("kind", f"must be one of {', '.join(kinds.names)}")
    return Kind(given)


def of_persona(request: Request) -> str | None:
    """A persona's id, NO_PERSONA, or None where any will do; InvalidField for another."""
    given = request.query_params.get("persona_id")
    if given is not None and given != NO_PERSONA and not _is_a(Id, given):
        raise InvalidField("persona_id", f"must be a persona's id, or {NO_PERSONA}")
    return given


def flag(request: Request, name: str) -> bool:
    """`true` or `false`, false when absent; InvalidField for anything else."""
    given = request.query_params.getlist(name) or ["false"]
    if given not in (["true"], ["false"]):
        raise InvalidField(name, "must be true or false, once")
    return given == ["true"]


def limit(request: Request) -> int:
    """How many items a page may have: 1 to MAX_LIMIT."""
    given = _number(request, "limit", PageLimit, MAX_LIMIT)
    return DEFAULT_LIMIT if given is None else given


def version(request: Request) -> int | None:
    """Which version is meant, or None; InvalidField for what can't be one."""
    return _number(request, "version", VersionNumber, MAX_VERSION)


def page_cursor(request: Request) -> str | None:
    """The `next_cursor` of the page before, or None; the store refuses what no page ever gave."""
    return request.query_params.get("cursor")


def idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header, or None; InvalidField unless it is 1 to 255 visible ASCII."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _is_a(IdempotencyKey, given[0]):
        raise InvalidField("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return given[0]


def stream_cursor(request: Request) -> str | None:
    """Where a reader is: `Last-Event-ID` wins over `?after=`; None for one that just came."""
    return request.headers.get("last-event-id") or request.query_params.get("after") or None


def _number(request: Request, name: str, kind: Any, at_most: int) -> int | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    # Digits alone: not what else Python takes for a number.
    if not _NUMBER.fullmatch(given) or not _is_a(kind, int(given)):
        raise InvalidField(name, f"must be a whole number from 1 to {at_most}")
    return int(given)


def _is_a(kind: Any, value: str | int) -> bool:
    """Whether the value fits the type that the OpenAPI document shows."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
