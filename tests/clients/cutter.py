"""An ASGI app in front of the relay that cuts event streams where a test wants, and counts it.

`plan(Cut(3), Cut(5, inside=True))` gives a path; below it, the first stream is cut after three
events, the second in the middle of its sixth, and later ones are left whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a body ends: after this many events, or `inside` the one that follows them."""

    events: int
    inside: bool = False


@dataclass(slots=True)
class Plan:
    """The cuts of one client, which asks below `path`."""

    path: str
    cuts: list[Cut]
    passed: int = 0
    """How many events passed so far, over all streams."""
    made: int = 0
    """How many streams were cut so far."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and `Last-Event-ID` of each request, in order."""


class Cutter:
    """Passes requests on to the relay, below the paths of plans too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._plans: dict[str, Plan] = {}

    def plan(self, *cuts: Cut) -> Plan:
        """A path of its own, below which the streams are cut so, one after the other."""
        plan = Plan(f"/cut/{len(self._plans)}", list(cuts))
        self._plans[plan.path] = plan
        return plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self._plans.get("/".join(scope.get("path", "").split("/")[:3]))
        if plan is None:
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(plan.path)
        plan.requests.append((scope["method"], path, Headers(scope=scope).get("last-event-id")))
        cutting = _Cutting(plan, send)
        try:
            await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, cutting)
        except BaseException as error:
            if not _is_cut(error):
                raise


class _Cut(Exception):
    """The body was cut; the response is left unfinished, so that the server aborts it."""


def _is_cut(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_cut, error.exceptions))
    return isinstance(error, _Cut)


class _Cutting:
    """Sends one response on, up to where its plan cuts it."""

    def __init__(self, plan: Plan, send: Send) -> None:
        self._plan = plan
        self._send = send
        self._cut: Cut | None = None
        self._passed = 0
        self._over = False

    async def __call__(self, message: Message) -> None:
        if self._over:
            raise _Cut
        if message["type"] == "http.response.start":
            media_type = Headers(raw=message["headers"]).get("content-type", "")
            if media_type.startswith("text/event-stream") and self._plan.cuts:
                self._cut = self._plan.cuts.pop(0)
        else:
            body = message.get("body", b"")
            place = self._place(body)
            if place is not None:
                self._over = True
                self._plan.made += 1
                await self._send({**message, "body": body[:place], "more_body": True})
                raise _Cut
        await self._send(message)

    def _place(self, body: bytes) -> int | None:
        """Where in this chunk the cut lies; chunks are of whole events."""
        cut = self._cut
        if cut is None:
            return None
        at = 0
        for piece in body.split(b"\n\n")[:-1]:
            size = len(piece) + 2
            if self._passed == cut.events:
                return at + (size // 2 if cut.inside else 0)
            self._passed += 1
            self._plan.passed += 1
            at += size
        return at if self._passed == cut.events and not cut.inside else None


def everywhere(events: Sequence[object], *, first: int = 1) -> list[Cut]:
    """A cut after each of these events but the last, and one inside each."""
    return [Cut(number, inside) for number in range(first, len(events)) for inside in (False, True)]
