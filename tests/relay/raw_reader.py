"""An HTTP/1.1 client that sees each chunk of a body apart, and how the body ended."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.relay.heard import Heard, heard, numbered
from tests.services import eventually

WITHIN = 20.0


@dataclass(slots=True)
class RawAnswer:
    """One answer: its status, its headers in lower case, and the chunks that came so far."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunks: list[bytes] = field(default_factory=list)
    finished: bool = False
    """The body came to its proper end; a body that was cut off never does."""
    task: asyncio.Task[None] | None = None

    @property
    def events(self) -> list[Heard]:
        """The numbered events so far."""
        return numbered(heard(self.chunks))

    async def read(self) -> None:
        """Reads chunks until the body ends or is cut off."""
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            async with asyncio.timeout(WITHIN):
                while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
                    self.chunks.append(await self.reader.readexactly(size))
                    assert await self.reader.readexactly(2) == b"\r\n"
                self.finished = await self.reader.readexactly(2) == b"\r\n"

    def start(self) -> None:
        """Reads on in a task."""
        self.task = asyncio.create_task(self.read())

    async def hears(self, number: int) -> None:
        """Returns once so many numbered events came."""
        await eventually(lambda: len(self.events) >= number, within=WITHIN)

    async def finish(self) -> list[Heard]:
        """All numbered events, once the body ended or was cut off."""
        await (self.task or self.read())
        return self.events

    def leave(self) -> None:
        """Goes away without a word."""
        self.writer.transport.abort()


@asynccontextmanager
async def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    receive_buffer: int | None = None,
) -> AsyncIterator[RawAnswer]:
    """The answer to one request, its head read and its body not."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    link = socket.socket()
    if receive_buffer is not None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, (parts.hostname, parts.port))
    # A small limit keeps the client's own buffer from standing in for the socket's.
    limit = receive_buffer or 1 << 20
    reader, writer = await asyncio.open_connection(sock=link, limit=limit)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}"]
        given = {**({"Content-Type": "application/json"} if body else {}), **(headers or {})}
        lines += [f"{name}: {value}" for name, value in given.items()]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(WITHIN):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answered = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        answer = RawAnswer(int(head[0].split(" ")[1]), answered, reader, writer)
        yield answer
        if answer.task is not None:
            answer.task.cancel()
    finally:
        writer.transport.abort()
