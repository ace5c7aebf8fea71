"""HTTP/1.1 to the model: each piece of a body is given to its reader in the turn that read it.

No task wakes for a token, which is half of what reading one costs through a general client. It is
a transport below the openai SDK, for an endpoint that is reached without a proxy.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import cast

import aiohappyeyeballs
import httptools
import httpx2

from jobs.provider_blank import body_of_blank

BODY = "pushed_body"
"""The response's extension that holds its PushedBody."""

HEAD_BYTES = 1 << 16
HELD_BYTES = 1 << 18
"""What is held of a body that nobody takes; then the connection is not read any more."""
IDLE_CONNECTIONS = 256
EYEBALLS_SECONDS = 0.25
"""How long one of a host's addresses is tried alone (RFC 8305)."""

Take = Callable[[bytes], bool]
"""Takes a piece; whether more is wanted."""


class PushedBody(httpx2.AsyncByteStream):
    """The body of a response: iterate it, or have it pushed. Closing it early ends the connection.

    Both raise httpx2.ReadError where the connection was lost.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._held: list[bytes] = []
        self._size = 0
        self._take: Take | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.ended = False
        """Whether no more comes: all was received, or the connection was lost."""

    async def push(self, take: Take) -> None:
        """Calls `take` for each piece as it is read, until the end or until it wants no more.

        Raises what `take` raises, too.
        """
        held, self._held, self._size = self._held, [], 0
        for at, piece in enumerate(held):
            if not take(piece):
                self._held = held[at + 1 :]
                return
        if not self.ended:
            self._take = take
            try:
                await self._wait()
            finally:
                self._take = None
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
    """One connection, one request at a time; `on_free` is called when it may take the next."""

    def __init__(self, on_free: Callable[["Connection"], None]) -> None:
        self._on_free = on_free
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


Origin = tuple[str, str, int]


class PushTransport(httpx2.AsyncBaseTransport):
    """Connections are kept for `keep_seconds`; how many there are is for the caller to bound."""

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._idle: dict[Origin, list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends it; the response comes with its head. Raises httpx2.RequestError."""
        url = request.url
        origin = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        content = await request.aread()
        head = request.headers.raw
        if (later := await body_of_blank()) is not None:
            content, head = later, _of_length(head, len(later))
        lines = [f"{request.method} ".encode(), url.raw_path, b" HTTP/1.1\r\n"]
        for name, value in head:
            lines += (name, b": ", value, b"\r\n")
        connection = self._kept(origin) or await self._connect(origin, request)
        status, headers, body = await connection.ask(b"".join([*lines, b"\r\n", content]))
        extensions = {"http_version": b"HTTP/1.1", BODY: body}
        return httpx2.Response(
            status, headers=headers, stream=body, request=request, extensions=extensions
        )

    async def aclose(self) -> None:
        """Drops the connections that wait for a request; a body that is closed drops its own."""
        for kept in self._idle.values():
            for connection in kept:
                if connection.expiry is not None:
                    connection.expiry.cancel()
                connection.abort()
        self._idle.clear()

    def _kept(self, origin: Origin) -> Connection | None:
        kept = self._idle.get(origin, [])
        while kept:
            connection = kept.pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if not connection.lost:
                return connection
        return None

    def _keep(self, origin: Origin, connection: Connection) -> None:
        kept = self._idle.setdefault(origin, [])
        if len(kept) >= IDLE_CONNECTIONS:
            connection.abort()
            return
        kept.append(connection)
        loop = asyncio.get_running_loop()
        connection.expiry = loop.call_later(self._keep_seconds, self._drop, origin, connection)

    def _drop(self, origin: Origin, connection: Connection) -> None:
        with suppress(ValueError):
            self._idle.get(origin, []).remove(connection)
        connection.abort()

    async def _connect(self, origin: Origin, request: httpx2.Request) -> Connection:
        scheme, host, port = origin
        tls = None
        if scheme == "https":
            tls = self._tls = self._tls or httpx2.create_ssl_context()
        seconds = request.extensions.get("timeout", {}).get("connect")

        def connection() -> Connection:
            return Connection(lambda free: self._keep(origin, free))

        try:
            async with asyncio.timeout(seconds):
                return await _connected(connection, host, port, tls)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error), request=request) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error


def _of_length(head: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    others = [one for one in head if one[0].lower() != b"content-length"]
    return [*others, (b"Content-Length", b"%d" % length)]


async def _connected(
    factory: Callable[[], Connection], host: str, port: int, tls: ssl.SSLContext | None
) -> Connection:
    loop = asyncio.get_running_loop()
    server_hostname = host if tls is not None else None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=EYEBALLS_SECONDS, loop=loop
        )
        try:
            _, connection = await loop.create_connection(
                factory, sock=sock, ssl=tls, server_hostname=server_hostname
            )
        except BaseException:
            sock.close()
            raise
    else:
        _, connection = await loop.create_connection(
            factory, host, port, ssl=tls, server_hostname=server_hostname
        )
    return connection
