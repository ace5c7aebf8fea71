"""Refusals as the openai SDKs read them: `{"error": {"message", "type", "param", "code"}}`."""

import msgspec
from starlette.responses import Response

from jobs.generation import encode
from relay.problems import Code, Refusal
from relay.routes.operation import Refusals

SHOULD_RETRY = "x-should-retry"
"""What an SDK obeys more than the status."""

_TYPES = {429: "rate_limit_error", 403: "permission_error", 401: "authentication_error"}
_CODES = {
    Code.UNAUTHENTICATED: "invalid_api_key",
    Code.LIMIT_EXCEEDED: "rate_limit_exceeded",
    Code.NOT_FOUND: None,
    Code.INVALID_REQUEST: None,
}


class OpenAIError(msgspec.Struct, frozen=True):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIRefusal(msgspec.Struct, frozen=True):
    """The body of every answer that is not the one asked for."""

    error: OpenAIError


REFUSALS = Refusals(OpenAIRefusal, "application/json", {422: 400})


def openai_error(refusal: Refusal, request_id: str) -> Response:
    """The refusal in OpenAI's shape; what is a 422 elsewhere is a 400 here."""
    status = 400 if refusal.status == 422 else refusal.status
    usual = "server_error" if status >= 500 else "invalid_request_error"
    error = OpenAIError(
        message=refusal.detail,
        type=_TYPES.get(status, usual),
        param=refusal.field,
        code=_CODES.get(refusal.code, refusal.code),
    )
    headers = dict(refusal.headers)
    if status == 409:
        # The SDKs would try again what can't be taken before the active one has ended.
        headers[SHOULD_RETRY] = "false"
    return Response(encode(OpenAIRefusal(error)), status, headers, media_type="application/json")
