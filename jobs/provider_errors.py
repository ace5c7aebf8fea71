"""Why a round of the model failed, told so that a user may read it: no secret, no long body.

`ProviderFailed` is the one error that the provider raises on account of the upstream.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

from jobs.errors import JobsError

Code = Literal["model_error", "model_timeout", "model_truncated", "model_unavailable"]

MAX_SHOWN_CHARACTERS = 200

_PASSING_STATUSES = frozenset({408, 409, 429})
_CREDENTIALS = frozenset({"401", "403", "invalid_api_key", "authentication_error"})
# What an error inside a stream calls itself when the same request would fail again.
_LASTING = _CREDENTIALS | {
    "400", "404", "413", "422", "invalid_request_error", "permission_error", "not_found_error",
    "insufficient_quota", "context_length_exceeded", "model_not_found", "billing_not_active",
}  # fmt: skip


class ProviderFailed(JobsError):
    """A round of the model failed (protocol §6); `retryable`: a new generation may succeed.

    `of_endpoint`: it did not answer in time, or not now, whatever was asked; counts against it.

    `model_error`: the endpoint refused, reported an error, or sent what is no chat completion.
    `model_timeout`: no token came in time.
    `model_truncated`: the stream was lost or ended before a finish reason.
    `model_unavailable`: no answer was to be had, in none of the tries.
    """

    def __init__(
        self, code: Code, message: str, *, retryable: bool = True, of_endpoint: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.of_endpoint = of_endpoint


def is_passing(status: int) -> bool:
    """Whether the same request may be answered otherwise a moment later."""
    return status in _PASSING_STATUSES or status >= 500


def refused(status: int, body: object, secret: str) -> ProviderFailed:
    """The failure for an answer that is not a success; `body` as JSON or text."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _credentials_refused()
    said = _said(body, secret)
    passing = is_passing(status) and not _names(body) & _LASTING
    return ProviderFailed(
        "model_error",
        f"the model's endpoint answered {status}" + (f": {said}" if said else ""),
        retryable=passing,
        of_endpoint=passing,
    )


def reported(error: object, secret: str) -> ProviderFailed:
    """The failure for an error that came as part of a stream."""
    names = _names(error)
    if names & _CREDENTIALS:
        return _credentials_refused()
    said = _said(error, secret)
    return ProviderFailed(
        "model_error",
        "the model reported an error" + (f": {said}" if said else ""),
        retryable=not names & _LASTING,
    )


def shown(text: str, secret: str = "") -> str:
    """At most 200 printable characters on one line, the secret taken out before they are cut."""
    if secret:
        text = text.replace(secret, "[hidden]")
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    if len(line) > MAX_SHOWN_CHARACTERS:
        line = line[: MAX_SHOWN_CHARACTERS - 1] + "…"
    return line


def _credentials_refused() -> ProviderFailed:
    return ProviderFailed(
        "model_error", "the model's endpoint refused the credentials", retryable=False
    )


def _said(body: object, secret: str) -> str:
    """The error's own words, wherever servers put them."""
    while isinstance(body, Mapping):
        body = next((body[key] for key in ("error", "message", "detail") if body.get(key)), None)
    return shown(body, secret) if isinstance(body, str) else ""


def _names(body: object) -> set[str]:
    """What the error calls itself: its code and type."""
    if not isinstance(body, Mapping):
        return set()
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else body
    return {str(inner.get(key)) for key in ("code", "type", "status")}
