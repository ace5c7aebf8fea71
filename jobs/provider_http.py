"""A transport below the openai SDK that pushes bodies, for an endpoint reached without a proxy."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import aiohappyeyeballs
import httpx2

from jobs.provider_blank import body_of_blank
from jobs.provider_connection import Connection

BODY = "pushed_body"
"""The response's extension that holds its PushedBody."""

IDLE_CONNECTIONS = 256
EYEBALLS_SECONDS = 0.25
"""How long one of a host's addresses is tried alone (RFC 8305)."""

Origin = tuple[str, str, int]


class PushTransport(httpx2.AsyncBaseTransport):
    """Connections are kept for `keep_seconds`; how many there are is for the caller to bound.

    `longest_wait`: for how many seconds a quick body's pieces may wait in all (`PushedBody.push`).
    """

    def __init__(self, keep_seconds: float, longest_wait: float = 0.0) -> None:
        self._keep_seconds = keep_seconds
        self._longest_wait = longest_wait
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
            return Connection(lambda free: self._keep(origin, free), self._longest_wait)

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
