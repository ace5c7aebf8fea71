"""A relay that knows its names answers under no other: a page can't take it over by DNS rebinding.

Plain ASGI, inside the edge: it looks at the Host header and passes everything else on.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.errors import WrongHost
from relay.problems import Shape, refusal_of

_HEALTH = frozenset({"/healthz", "/readyz"})


class KnownHosts:
    """Middleware: 421 unless the Host header is one of these names, whatever port it adds.

    Health is told under any: a supervisor asks by address, and there is nothing to take.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self._names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and not self._may_be_told(scope):
            shape: Shape = scope["state"]["shape"]
            app = shape(refusal_of(WrongHost()), scope["state"]["request_id"])
        await app(scope, receive, send)

    def _may_be_told(self, scope: Scope) -> bool:
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        return path in _HEALTH or self._name(Headers(scope=scope)) in self._names

    @staticmethod
    def _name(headers: Headers) -> str:
        host = headers.get("host", "").lower()
        name, colon, port = host.rpartition(":")
        # An IPv6 address ends in a bracket; its colons are its own.
        return name if colon and port.isdecimal() else host
