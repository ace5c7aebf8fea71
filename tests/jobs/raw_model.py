"""A model's endpoint that plays scripts byte for byte: what servers do, and what they should not.

It is a bare asyncio server: each request is read whole, then answered with the steps of its script.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the client leaves."""


@dataclass(frozen=True)
class Repeat:
    """Send these bytes again and again, `every` so many seconds, until the client leaves."""

    data: bytes
    every: float


@dataclass(frozen=True)
class Pause:
    """Say nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Close:
    """End the connection in order (FIN)."""


@dataclass(frozen=True)
class Reset:
    """Break the connection (RST)."""


@dataclass(frozen=True)
class WaitFor:
    """Go on when the test says so."""

    event: asyncio.Event


Step = bytes | Stall | Repeat | Pause | Close | Reset | WaitFor
Script = Sequence[Step]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNFRAMED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def sse(value: object) -> bytes:
    """One event, unframed."""
    return b"data: %s\n\n" % json.dumps(value).encode()


def delta(finish_reason: str | None = None, **fields: object) -> dict[str, Any]:
    """A chunk as servers send it, with this delta."""
    choice = {"index": 0, "delta": fields, "finish_reason": finish_reason, "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": None,
    }


def usage(read: int, written: int) -> dict[str, Any]:
    """The chunk that comes last, with counts and no choices."""
    counts = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {**delta(), "choices": [], "usage": counts}


DONE = b"data: [DONE]\n\n"
WHOLE = b"".join(
    [
        sse(delta(role="assistant", content="")),
        sse(delta(content="Hel")),
        sse(delta(content="lo")),
        sse(delta("stop")),
        sse(usage(7, 2)),
        DONE,
    ]
)
ANSWER: Script = (HEAD, framed(WHOLE), END)


def refusal(status: int, body: bytes = b"{}", **headers: str) -> Script:
    """An answer with this status; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", "", ""]
    return ("\r\n".join(lines).encode() + body,)


@dataclass
class RawModel:
    """The running server: what came, and when clients left."""

    scripts: Sequence[Script]
    url: str = ""
    connections: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests: the n-th of all with the n-th script, then the last."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                self.requests.append(json.loads(await reader.readexactly(length)))
                self.headers.append(head)
                self.times.append(asyncio.get_running_loop().time())
                self.asked.set()
                for step in self.scripts[min(len(self.requests), len(self.scripts)) - 1]:
                    if not await self._play(step, reader, writer):
                        return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _play(
        self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case WaitFor(event):
                await event.wait()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await reader.readexactly(1)
            case Repeat(data, every):
                while True:
                    writer.write(data)
                    await writer.drain()
                    try:
                        async with asyncio.timeout(every):
                            await reader.readexactly(1)
                    except TimeoutError:
                        continue
            case Close():
                return False
            case Reset():
                linger = struct.pack("ii", 1, 0)
                peer: socket.socket = writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return False
        return True


@asynccontextmanager
async def raw_model(*scripts: Script) -> AsyncIterator[RawModel]:
    """A server on a free port that plays these scripts in turn, and the last one from then on."""
    model = RawModel(scripts)
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(model.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield model
    finally:
        server.close()
        remaining = list(serving)
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
