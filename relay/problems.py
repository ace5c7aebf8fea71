"""The one table from an error to its HTTP answer: RFC 9457 problem details (protocol §4).

Every refusal and failure of the API is found here, the router's own included, so that `code` is
a closed list. The routes of another protocol write it in a shape of their own.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jobs.database_errors import CommitUnknown
from jobs.errors import (
    CascadeTooDeep,
    GenerationActive,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    OverBudget,
    Unavailable,
)
from relay.errors import (
    BodyTooLarge,
    CrossSite,
    InvalidField,
    MalformedBody,
    MissingScope,
    TooManyStreams,
    Unauthenticated,
    UnsupportedMedia,
    WrongHost,
)

MEDIA_TYPE = "application/problem+json"
_REALM = 'Bearer realm="persona-relay"'


class Code(StrEnum):
    """Why a request was not answered as asked; no other code is ever sent."""

    UNAUTHENTICATED = "unauthenticated"
    MISSING_SCOPE = "missing_scope"
    CROSS_SITE = "cross_site"
    WRONG_HOST = "wrong_host"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BODY_TOO_LARGE = "body_too_large"
    MALFORMED_BODY = "malformed_body"
    INVALID_REQUEST = "invalid_request"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    LIMIT_EXCEEDED = "limit_exceeded"
    TOO_MANY_STREAMS = "too_many_streams"
    GENERATION_ACTIVE = "generation_active"
    CASCADE_TOO_DEEP = "cascade_too_deep"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    INTERNAL_ERROR = "internal_error"


MEANINGS: Mapping[Code, str] = {
    Code.UNAUTHENTICATED: "The credentials are missing, wrong, expired or revoked.",
    Code.MISSING_SCOPE: "The token was not given the scope that this call needs.",
    Code.CROSS_SITE: "A page of another site asks for a change, and authorization is off.",
    Code.WRONG_HOST: "The request names a host that is none of RELAY_ALLOWED_HOSTS.",
    Code.UNSUPPORTED_MEDIA_TYPE: "The body is not declared as application/json.",
    Code.BODY_TOO_LARGE: "The body is over 1 MiB, or 4 MiB where it may hold a chat.",
    Code.MALFORMED_BODY: "The body is not one JSON document, or was cut off.",
    Code.INVALID_REQUEST: "A field, parameter or header can't be taken; `field` names it.",
    Code.IDEMPOTENCY_KEY_REUSED: "The Idempotency-Key was used with another path or body.",
    Code.NOT_FOUND: "There is no such resource for this owner, or no such path.",
    Code.METHOD_NOT_ALLOWED: "The path exists but not with this method; `Allow` lists them.",
    Code.LIMIT_EXCEEDED: "A limit of the sliding minute is used up until `Retry-After`.",
    Code.TOO_MANY_STREAMS: "The owner has as many open streams as allowed.",
    Code.GENERATION_ACTIVE: "The conversation has an active generation: `generation_id`.",
    Code.CASCADE_TOO_DEEP: "Work caused by caused work is refused.",
    Code.UNAVAILABLE: "The database could not be reached; nothing was stored.",
    Code.OUTCOME_UNKNOWN: "The change may or may not have been stored; `generation_id`, too.",
    Code.INTERNAL_ERROR: "A fault of the server; its log has the request id.",
}
"""What each code says."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every answer that is not the one asked for."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    request_id: str
    field: str | None = None
    generation_id: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """What there is to say of an error, whatever shape its answer has."""

    status: int
    code: Code
    headers: dict[str, str] = {}
    field: str | None = None
    generation_id: str | None = None
    detail: str = ""


Shape = Callable[[Refusal, str], Response]
"""Writes a refusal, with the request's id, as the clients of one protocol read it."""


def _unauthenticated(error: Unauthenticated) -> Refusal:
    challenge = f'{_REALM}, error="invalid_token"' if error.given else _REALM
    return Refusal(401, Code.UNAUTHENTICATED, {"WWW-Authenticate": challenge})


def _missing_scope(error: MissingScope) -> Refusal:
    challenge = f'{_REALM}, error="insufficient_scope", scope="{error.scope}"'
    return Refusal(403, Code.MISSING_SCOPE, {"WWW-Authenticate": challenge})


def _invalid(error: InvalidField | InvalidRequest) -> Refusal:
    return Refusal(422, Code.INVALID_REQUEST, field=error.field)


def _limited(error: OverBudget) -> Refusal:
    return Refusal(429, Code.LIMIT_EXCEEDED, {"Retry-After": str(error.retry_after)})


def _too_many_streams(error: TooManyStreams) -> Refusal:
    return Refusal(429, Code.TOO_MANY_STREAMS, {"Retry-After": str(error.retry_after)})


_ROUTER_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


def _of_the_router(error: HTTPException) -> Refusal:
    status = error.status_code if error.status_code in _ROUTER_CODES else 500
    code = _ROUTER_CODES.get(status, Code.INTERNAL_ERROR)
    details = {404: "there is nothing at this path", 405: "this path has other methods"}
    return Refusal(status, code, dict(error.headers or {}), detail=details.get(status, ""))


_TABLE: dict[type[Exception], Any] = {
    Unauthenticated: _unauthenticated,
    MissingScope: _missing_scope,
    CrossSite: lambda _: Refusal(403, Code.CROSS_SITE),
    WrongHost: lambda _: Refusal(421, Code.WRONG_HOST),
    UnsupportedMedia: lambda _: Refusal(
        415, Code.UNSUPPORTED_MEDIA_TYPE, {"Accept": "application/json"}
    ),
    BodyTooLarge: lambda _: Refusal(413, Code.BODY_TOO_LARGE),
    MalformedBody: lambda _: Refusal(400, Code.MALFORMED_BODY),
    InvalidField: _invalid,
    InvalidRequest: _invalid,
    IdempotencyKeyReused: lambda error: Refusal(
        422, Code.IDEMPOTENCY_KEY_REUSED, generation_id=error.generation_id
    ),
    NotFound: lambda _: Refusal(404, Code.NOT_FOUND),
    OverBudget: _limited,
    TooManyStreams: _too_many_streams,
    GenerationActive: lambda error: Refusal(
        409, Code.GENERATION_ACTIVE, generation_id=error.generation_id
    ),
    CascadeTooDeep: lambda error: Refusal(
        409, Code.CASCADE_TOO_DEEP, generation_id=error.caused_by
    ),
    OutcomeUnknown: lambda error: Refusal(
        503, Code.OUTCOME_UNKNOWN, {"Retry-After": "1"}, generation_id=error.generation_id
    ),
    CommitUnknown: lambda _: Refusal(503, Code.OUTCOME_UNKNOWN, {"Retry-After": "1"}),
    Unavailable: lambda _: Refusal(503, Code.UNAVAILABLE, {"Retry-After": "1"}),
    HTTPException: _of_the_router,
}

_INTERNAL = Refusal(500, Code.INTERNAL_ERROR, detail="the server failed; its log says more")


def refusal_of(error: Exception) -> Refusal:
    """What to say of this error; one that the table doesn't know is a 500 without its text."""
    known = (_TABLE[kind](error) for kind in type(error).__mro__ if kind in _TABLE)
    refusal: Refusal = next(known, _INTERNAL)
    return msgspec.structs.replace(
        refusal,
        detail=_printable(refusal.detail or str(error)),
        field=_printable(refusal.field) if refusal.field else None,
    )


def problem_response(refusal: Refusal, request_id: str) -> Response:
    """The refusal as a problem: the shape of the native API."""
    problem = Problem(
        type=f"urn:persona-relay:problem:{refusal.code}",
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        detail=refusal.detail,
        code=refusal.code,
        request_id=request_id,
        field=refusal.field,
        generation_id=refusal.generation_id,
    )
    return Response(
        msgspec.json.encode(problem), refusal.status, refusal.headers, media_type=MEDIA_TYPE
    )


def count_refusal(app: Any, refusal: Refusal) -> None:
    """Counts it among what this app has refused, if it has its services."""
    services = getattr(app.state, "services", None)
    if services is None:
        return
    services.counts.problems[refusal.code.value] += 1
    if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
        services.counts.unserved.note(refusal.code.value, refusal.detail)


async def answer_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for every error that the table knows."""
    if isinstance(error, HTTPException) and (error.status_code, request.method) == (405, "OPTIONS"):
        return Response(status_code=204, headers=error.headers)
    refusal = refusal_of(error)
    count_refusal(request.app, refusal)
    shape: Shape = request.state.shape
    return shape(refusal, request.state.request_id)


def exception_handlers() -> Mapping[Any, Any]:
    """Every class of the table with its handler, as Starlette takes them."""
    return dict.fromkeys(_TABLE, answer_error)


def _printable(text: str) -> str:
    # A refused name may hold what JSON can't: an error about it must still be an answer.
    return text[:500].encode("utf-8", "replace").decode()
