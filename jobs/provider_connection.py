"""One HTTP/1.1 connection to the model: a body's pieces go to its reader as they are read.

No task wakes for a token, which is half of what reading one costs through a general client.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools
import httpx2

from jobs.provider_pairs import InPairs, in_pairs

HEAD_BYTES = 1 << 16
HELD_BYTES = 1 << 18
"""What is held of a body that nobody takes; then the connection is not read any more."""

Take = Callable[[bytes], bool]
"""Takes a piece; whether more is wanted."""
MayWait = Callable[[], bool]
"""Whether what comes after the last piece may wait a moment for more."""


def at_once() -> bool:
    """What comes waits for nothing (MayWait)."""
    return False


class PushedBody(httpx2.AsyncByteStream):
    """The body of a response: iterate it, or have it pushed. Closing it early ends the connection.

    Both raise httpx2.ReadError where the connection was lost.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._held: list[bytes] = []
        self._size = 0
        self._take: Take | None = None
        self._may_wait: MayWait = at_once
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.ended = False
        """Whether no more comes: all was received, or the connection was lost."""

    async def push(self, take: Take, may_wait: MayWait = at_once) -> None:
        """Calls `take` for each piece as it is read, until the end or until it wants no more.

        Where `may_wait` agrees after one, the pieces of a quick body are read two at a time.
        Raises what `take` raises, too.
        """
        held, self._held, self._size = self._held, [], 0
        for at, piece in enumerate(held):
            if not take(piece):
                self._held = held[at + 1 :]
                return
        if not self.ended:
            self._take, self._may_wait = take, may_wait
            try:
                await self._wait()
            finally:
                self._take = None
                if self._connection.pairs is not None:
                    self._connection.pairs.stop()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces that were not pushed."""
        while True:
            if self._held:
                piece = b"".join(self._held)
                self._held.clear()
                self._size = 0
                yield piece
            elif self.ended:
                break
            else:
                await self._wait()
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """Ends the connection, unless the body has come whole."""
        if not self.ended:
            self._connection.abort()

    async def _wait(self) -> None:
        self._connection.read_on()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def receive(self, piece: bytes) -> None:
        """Takes a piece off the connection."""
        if self._take is None:
            self._held.append(piece)
            self._size += len(piece)
            if self._size > HELD_BYTES:
                self._connection.read_no_more()
            self._wake()
            return
        try:
            if self._take(piece):
                if (pairs := self._connection.pairs) is not None:
                    pairs.read(len(piece), self._may_wait)
                return
        except Exception as error:
            # It is for whoever waits for the body, not for the connection's loop.
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
        self._take = None
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes."""
        if not self.ended:
            self.ended, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection, one request at a time; `on_free` is called when it may take the next.

    What it reads may wait for `longest_wait` seconds, until it is flushed, where its reader agrees.
    """

    def __init__(self, on_free: Callable[["Connection"], None], longest_wait: float = 0.0) -> None:
        self._on_free = on_free
        self._longest_wait = longest_wait
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._head: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._framed = False
        self._reads = True
        self._body = PushedBody(self)
        # What this read brought of the body, chunk by chunk: it is passed on as one piece.
        self._pieces: list[bytes] = []
        self.expiry: asyncio.TimerHandle | None = None
        self.pairs: InPairs | None = None
        """How a body is read off it; None where it can't be paced."""

    @property
    def lost(self) -> bool:
        """Whether it can't be used any more."""
        return self._transport is None or self._transport.is_closing()

    async def ask(self, request: bytes) -> tuple[int, list[tuple[bytes, bytes]], PushedBody]:
        """The answer: status, headers, and the body that follows. Raises httpx2.RequestError."""
        if self._transport is None:
            raise httpx2.ReadError("the connection was lost")
        # Its own: an answer that came whole has freed the connection before this task goes on, and
        # the connection's body may by then be that of another request.
        body = self._body = PushedBody(self)
        self._parser = httptools.HttpResponseParser(self)
        self._head = asyncio.get_running_loop().create_future()
        self._head_bytes = 0
        self._transport.write(request)
        try:
            return (*await self._head, body)
        except BaseException:
            await body.aclose()
            raise

    def abort(self) -> None:
        """Drops it at once."""
        if self._transport is not None:
            self._transport.abort()

    def read_no_more(self) -> None:
        """Lets the peer wait: nobody takes what it sends."""
        if self._transport is not None and self._reads:
            self._reads = False
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Takes what the peer sends again."""
        if self._transport is not None and not self._reads:
            self._reads = True
            self._transport.resume_reading()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the transport (asyncio.Protocol)."""
        # uvloop's transports are no asyncio.Transport by class, only by what they do.
        self._transport = cast(asyncio.Transport, transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.pairs = in_pairs(sock, self._longest_wait)

    def data_received(self, data: bytes) -> None:
        """Parses what came (asyncio.Protocol)."""
        if self._parser is None:
            # Nothing was asked: whatever it is, it answers no later request.
            self.abort()
            return
        if self._head is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES + HELD_BYTES:
                self._fail(httpx2.RemoteProtocolError("the head of the answer has no end"))
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._pass_on()
            self._fail(httpx2.RemoteProtocolError("the answer is no HTTP/1.1"))
        else:
            self._pass_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what is under way (asyncio.Protocol)."""
        self._transport = None
        whole = exc is None and self._head is None and not self._framed
        self._fail(None if whole else httpx2.ReadError("the connection was lost"))

    def _fail(self, error: Exception | None) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_exception(error or httpx2.ReadError("the connection was lost"))
        self._head = None
        self._body.end(error)
        self.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begins a head (httptools), once more after an interim answer."""
        self._headers, self._framed = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header (httptools)."""
        self._headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Gives the head to who asked (httptools)."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200 and self._head is not None:
            if not self._head.done():
                self._head.set_result((status, self._headers))
            self._head = None

    def on_body(self, piece: bytes) -> None:
        """Takes a piece of the body (httptools)."""
        self._pieces.append(piece)

    def _pass_on(self) -> None:
        if pieces := self._pieces:
            self._pieces = []
            self._body.receive(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def on_message_complete(self) -> None:
        """The answer is whole (httptools): the connection may serve the next."""
        if self._head is not None:
            return
        assert self._parser is not None
        keep, self._parser = self._parser.should_keep_alive(), None
        self._pass_on()
        self._body.end()
        if keep:
            self._on_free(self)
        elif self._transport is not None:
            self._transport.close()
