"""Each POST is a span of the trace that its caller began, or begins one; if traces are exported.

Plain ASGI: the span ends as the answer begins, not with the stream that the answer may be.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.tracing import NO_TRACES, Traces

FAILED = 500


class Traced:
    """Middleware below the one that gives requests their ids."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        traces = _traces(scope)
        if traces is NO_TRACES:
            await self.app(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        asked = {
            "http.request.method": scope["method"],
            "relay.request": scope["state"]["request_id"],
        }
        with traces.span(scope["method"], parent, "server", asked) as span:

            async def send_and_tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set({"http.response.status_code": status, "http.route": _route(scope)})
                    if status >= FAILED:
                        span.fail(str(status))
                    span.end()
                await send(message)

            await self.app(scope, receive, send_and_tell)


def _traces(scope: Scope) -> Traces:
    if scope["type"] != "http" or scope["method"] != "POST":
        return NO_TRACES
    services = getattr(scope["app"].state, "services", None)
    return NO_TRACES if services is None else services.traces


def _route(scope: Scope) -> str:
    """The path with the names of its parameters in the place of what they hold."""
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path
