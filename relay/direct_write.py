"""A way past ASGI for one chunk: a connection that can take it now gets it without a task's turn.

There is one only where uvicorn's own `send` reaches the app as it is: what wraps it, such as
another app's middleware, must see every chunk.
"""

from collections.abc import Callable
from functools import partial

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

STATE = "direct_write"
"""Where `scope["state"]` holds it, for those inside the app's own layers."""

DirectWrite = Callable[[bytes], bool]
"""Writes a chunk of a body that has begun; False, and nothing written, where that has to wait."""


def past(send: Send) -> DirectWrite | None:
    """The way past this `send`, if it is the server's own."""
    cycle = getattr(send, "__self__", None)
    return partial(_write, cycle) if isinstance(cycle, RequestResponseCycle) else None


def direct_write(scope: Scope) -> DirectWrite | None:
    """The way that was found for this request, if any."""
    write: DirectWrite | None = scope.get("state", {}).get(STATE)
    return write


def _write(cycle: RequestResponseCycle, chunk: bytes) -> bool:
    if (
        not cycle.chunked_encoding
        or cycle.flow.write_paused
        or cycle.disconnected
        or cycle.response_complete
    ):
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    return True
