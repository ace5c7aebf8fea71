"""Connections to Redis whose every call is bounded in time: no call here waits for ever."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

CALL_TIMEOUT_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 1.0
POOL_WAIT_SECONDS = 1.0

REDIS_FAILURES = (RedisError, OSError, TimeoutError)
"""What any call may raise when Redis is away, frozen or full; never a reason to stop."""

CONNECTION_OPTIONS = {
    "socket_timeout": CALL_TIMEOUT_SECONDS,
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
}


class TcpConnection(Connection):
    """A connection whose loss is always one of REDIS_FAILURES."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Sends it; raises REDIS_FAILURES."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            # uvloop's word for a transport that the peer has closed already.
            raise RedisConnectionError(str(error)) from error


class TlsConnection(SSLConnection, TcpConnection):
    """The same over TLS."""


def connection_options(url: str) -> dict[str, Any]:
    """How to connect to the server that the URL names; raises ValueError for one that names none.

    With `rediss://` the certificate must be the host's, unless the URL says otherwise by
    `ssl_check_hostname=false` or `ssl_cert_reqs=none`: redis-py of this version takes any host's.
    """
    options: dict[str, Any] = {**CONNECTION_OPTIONS, **parse_url(url)}
    if options.get("connection_class") is SSLConnection:
        options["connection_class"] = TlsConnection
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
    else:
        options.setdefault("connection_class", TcpConnection)
    return options


def connection_pool(
    url: str, connections: int = 32, retry: Retry | None = None
) -> BlockingConnectionPool:
    """At most so many connections to this server; one that is lost is retried by `retry` alone."""
    options = connection_options(url)
    options |= {"max_connections": connections, "timeout": POOL_WAIT_SECONDS}
    if retry is not None:
        options |= {"retry": retry, "retry_on_error": [RedisConnectionError]}
    return BlockingConnectionPool(**options)


@asynccontextmanager
async def open_redis(url: str, *, connections: int = 32) -> AsyncIterator[Redis]:
    """A client for commands; raises REDIS_FAILURES within some seconds, whatever Redis does.

    A command whose connection turns out to be lost is sent once more, over a new one: after a
    restart every pooled connection is. So no command may be sent that must not run twice.
    """
    once_more = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    pool = connection_pool(url, connections, once_more)
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()
