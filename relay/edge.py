"""The outermost layer of every answer: a request id, safe headers, and a 500 that says nothing.

Plain ASGI: it passes each chunk of a stream on untouched and never buffers.
"""

import logging
import re
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from relay.problems import Shape, count_refusal, problem_response, refusal_of

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_DEFAULTS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Edge:
    """Middleware: sets `scope["state"]["request_id"]`, echoed as `X-Request-Id` on the answer.

    Sets `scope["state"]["shape"]` too, in which errors are answered: that of the longest prefix
    of the path in `shapes`, else a problem. A caller's own `X-Request-Id` is kept when it is 1 to
    128 letters, digits, `.`, `_` or `-`. An unexpected error is logged with the id and answered
    with a 500; once the answer has begun, it is raised, so that the server cuts the connection.
    """

    def __init__(self, app: ASGIApp, shapes: Mapping[str, Shape]) -> None:
        self.app = app
        self._shapes = sorted(shapes.items(), reverse=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        shape = self._shape(scope)
        # A copy: the server shares one state mapping between requests.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "shape": shape}
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _DEFAULTS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            with bound_contextvars(request_id=request_id):
                await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            logger.exception("request %s failed", request_id, extra={"request_id": request_id})
            refusal = refusal_of(error)
            count_refusal(scope["app"], refusal)
            response = shape(refusal, request_id)
            await response(scope, receive, send_with_headers)

    def _shape(self, scope: Scope) -> Shape:
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
        found = (shape for prefix, shape in self._shapes if path.startswith(prefix))
        return next(found, problem_response)
