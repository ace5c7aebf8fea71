"""A TCP proxy that delays, holds, cuts and records: faults on purpose, and counted."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

from tests.services.wire import Counts, Direction, Passage, Trap

__all__ = ["Counts", "DelayingProxy", "Direction", "Passage", "Trap"]

READ_BYTES = 65536
QUEUE_CHUNKS = 64


class DelayingProxy:
    """Forward connections to `host:port`; every knob may be turned while connections are open.

    `delay_ms[direction]` delays what passes, in order and without slowing the rate.
    """

    def __init__(self, host: str, port: int, *, up_ms: float = 0, down_ms: float = 0) -> None:
        """Prepare; `async with proxy:` runs it."""
        self.host, self.server_port = host, port
        self.delay_ms = {Direction.UP: up_ms, Direction.DOWN: down_ms}
        self.refusing = False
        self.recording = True
        self.passages: list[Passage] = []
        self.counts = Counts()
        self.traps: list[Trap] = []
        self._open_gates = {direction: asyncio.Event() for direction in Direction}
        self._forgotten_gates: list[asyncio.Event] = []
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.heal()

    @classmethod
    @contextlib.asynccontextmanager
    async def before(
        cls, url: str, *, up_ms: float = 0, down_ms: float = 0
    ) -> AsyncIterator["DelayingProxy"]:
        """Run a proxy in front of the server that `url` names."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"no host and port in {url}")
        async with cls(parts.hostname, parts.port, up_ms=up_ms, down_ms=down_ms) as proxy:
            yield proxy

    @property
    def port(self) -> int:
        """The port to connect to, on 127.0.0.1."""
        if self._listener is None:
            raise RuntimeError("the proxy does not run")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._links)

    def url(self, url: str) -> str:
        """Give `url` with the proxy's address in place of the server's."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        address = f"127.0.0.1:{self.port}"
        return urlunsplit(
            parts._replace(netloc=f"{credentials}@{address}" if credentials else address)
        )

    def black_hole(self, *directions: Direction) -> None:
        """Let nothing pass, both ways or the given; connections stay open, as on a dead link.

        What was sent meanwhile arrives after `heal`, as TCP would send it again.
        """
        for direction in directions or tuple(Direction):
            self._open_gates[direction].clear()

    def forget_open(self) -> None:
        """Let nothing pass on the connections that are open now; new ones work, as behind a router
        that has lost its table. `heal` ends it."""
        for direction, gate in self._open_gates.items():
            gate.clear()
            self._forgotten_gates.append(gate)
            self._open_gates[direction] = asyncio.Event()
            self._open_gates[direction].set()

    def heal(self) -> None:
        """End a black hole; also accept again after `refuse`."""
        self.refusing = False
        for gate in (*self._open_gates.values(), *self._forgotten_gates):
            gate.set()

    def refuse(self) -> None:
        """Reset every new connection at once, as a server that is down would."""
        self.refusing = True

    def abort(self) -> int:
        """Reset all open connections on both sides; how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        self.counts.resets += len(links)
        return len(links)

    def cut_before(
        self, pattern: bytes, direction: Direction, *, times: int = 1, transaction: bytes = b""
    ) -> Trap:
        """Reset the connection when `pattern` comes by; it never reaches the other side whole.

        With `transaction`, only where this has passed since the last BEGIN.
        """
        return self._set(Trap(pattern, direction, "before", times, transaction))

    def cut_after(
        self, pattern: bytes, direction: Direction, *, times: int = 1, transaction: bytes = b""
    ) -> Trap:
        """Deliver what has `pattern` in it, then cut: its receiver acts, its sender hears nothing.

        The sender sees a reset, the receiver an orderly end after the last byte.
        """
        return self._set(Trap(pattern, direction, "after", times, transaction))

    def forget(self) -> None:
        """Drop the recording so far."""
        self.passages.clear()

    async def __aenter__(self) -> "DelayingProxy":
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links):
            link.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set(self, trap: Trap) -> Trap:
        self.traps.append(trap)
        return trap

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served in a task")
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            self.counts.refused += 1
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(
                self.host, self.server_port
            )
        except OSError:
            self.counts.refused += 1
            _reset(writer)
            return
        self.counts.connections += 1
        link = _Link(self, self.counts.connections, writer, server_writer)
        self._links.add(link)
        try:
            await link.carry({Direction.UP: reader, Direction.DOWN: server_reader})
        finally:
            self._links.discard(link)
            link.reset()


class _Link:
    """One connection through the proxy, and the two ways of its bytes."""

    def __init__(
        self,
        proxy: DelayingProxy,
        number: int,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self.proxy = proxy
        self.number = number
        self.writers = {Direction.UP: server, Direction.DOWN: client}
        self.tails = dict.fromkeys(Direction, b"")

    def reset(self) -> None:
        for writer in self.writers.values():
            _reset(writer)

    async def carry(self, readers: dict[Direction, asyncio.StreamReader]) -> None:
        with contextlib.suppress(_Cut):
            try:
                async with asyncio.TaskGroup() as ways:
                    for direction, reader in readers.items():
                        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_CHUNKS)
                        ways.create_task(self._take(direction, reader, queue))
                        ways.create_task(self._give(direction, queue))
            except* (_Cut, OSError):
                # A side that is gone ends the connection; nothing of it is the proxy's error.
                raise _Cut from None

    async def _take(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        queue: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            data = await reader.read(READ_BYTES)
            if data and direction is Direction.UP:
                self._record(direction, data)
            await queue.put((now() + self.proxy.delay_ms[direction] / 1000, data))
            if not data:
                return

    async def _give(self, direction: Direction, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        writer = self.writers[direction]
        gate = self.proxy._open_gates[direction]
        while True:
            due, data = await queue.get()
            if due > loop.time():
                self.proxy.counts.delayed += 1
                await asyncio.sleep(due - loop.time())
            if not gate.is_set():
                self.proxy.counts.held += 1
                await gate.wait()
            if not data:
                writer.write_eof()
                return
            await self._pass(direction, writer, data)

    async def _pass(self, direction: Direction, writer: asyncio.StreamWriter, data: bytes) -> None:
        trap, start = self._sprung(direction, data)
        if trap is not None and trap.where == "before":
            data = data[:start]
        if data:
            writer.write(data)
            if direction is Direction.DOWN:
                self._record(direction, data)
            self.proxy.counts.bytes[direction] += len(data)
            await writer.drain()
        if trap is None:
            return
        if trap.where == "after":
            # A reset could throw away what the receiver has not read yet: close in order.
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self.proxy.counts.cuts += 1
        trap.spring()
        self.reset()
        raise _Cut

    def _sprung(self, direction: Direction, data: bytes) -> tuple[Trap | None, int]:
        """Give the first trap that `data` completes the pattern of, and where to cut in `data`."""
        tail = self.tails[direction]
        seen = tail + data
        found: tuple[Trap | None, int] = (None, len(data))
        for trap in self.proxy.traps:
            if not trap.armed or trap.direction is not direction:
                continue
            at = seen.find(trap.pattern, max(0, len(tail) - len(trap.pattern) + 1))
            if at < 0 or not trap.springs_in(seen[:at]):
                continue
            if found[0] is None or at - len(tail) < found[1]:
                found = (trap, at - len(tail))
        longest = max((one.looks_back for one in self.proxy.traps), default=1)
        self.tails[direction] = seen[-(longest - 1) :] if longest > 1 else b""
        return found[0], max(0, found[1])

    def _record(self, direction: Direction, data: bytes) -> None:
        if self.proxy.recording:
            now = asyncio.get_running_loop().time()
            self.proxy.passages.append(Passage(now, self.number, direction, data))


class _Cut(Exception):
    """The connection is over."""


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset: without the linger option an abort would send an orderly end."""
    if writer.transport.is_closing():
        return
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
