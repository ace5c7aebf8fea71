"""How much memory the relay's code holds at once for one viewer of one live message.

From the hub's call to its return, but for what the transport keeps: a copy of what its socket does
not take is none of ours.
"""

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobs.stream_log import Message
from relay.follow import Follower


class Meter:
    """Reads while tracemalloc traces; `most` has a number of bytes a message and viewer."""

    def __init__(self) -> None:
        self.most: list[int] = []
        self.writes = 0
        """How many of these messages were written at once, before the hub went on."""
        self._most = self._base = 0
        self._within = False

    def on_message(self) -> Callable[[Follower, Message], None]:
        """The follower's own, metered."""
        real = Follower.on_message

        def on_message(follower: Follower, message: Message) -> None:
            self._within, self._most = True, 0
            self._base = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            real(follower, message)
            self._note()
            self._within = False
            self.most.append(self._most)

        return on_message

    def protocol(self) -> type[HttpToolsProtocol]:
        """The server's own, whose transports are metered."""

        def connection_made(protocol: HttpToolsProtocol, transport: Any) -> None:
            HttpToolsProtocol.connection_made(protocol, _Transport(transport, self))  # type: ignore[arg-type]

        return type("Metered", (HttpToolsProtocol,), {"connection_made": connection_made})

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Writes, and leaves out what that holds from now on."""
        if not self._within:
            transport.write(data)
            return
        self._note()
        self.writes += 1
        before = tracemalloc.get_traced_memory()[0]
        transport.write(data)
        self._base += tracemalloc.get_traced_memory()[0] - before
        tracemalloc.reset_peak()

    def _note(self) -> None:
        self._most = max(self._most, tracemalloc.get_traced_memory()[1] - self._base)


class _Transport:
    """A transport as it is, whose writes are metered."""

    def __init__(self, transport: asyncio.Transport, meter: Meter) -> None:
        self._transport, self._meter = transport, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._meter.write(self._transport, data)
