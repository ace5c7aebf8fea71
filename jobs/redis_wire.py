"""A plain connection to Redis, spoken by hand where redis-py costs too much or can't be trusted.

It is logged in before it is given out, by the same address and TLS rules as the client's.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from jobs.redis_link import TlsConnection, connection_options

log = logging.getLogger(__name__)

WIRE_CONNECT_SECONDS = 2.0
"""How long a connection may take until it is made and logged in."""

OnReply = Callable[[Any], None]
OnLost = Callable[["Wire"], None]


class Address:
    """Where a Redis server is, how to get there and how to log in."""

    def __init__(self, options: Mapping[str, Any], tls: ssl.SSLContext | None) -> None:
        self._options = options
        self._tls = tls

    @classmethod
    def of_url(cls, url: str) -> "Address":
        """The address that this URL names."""
        options = connection_options(url)
        return cls(options, _tls(options.get("connection_class"), options))

    @classmethod
    def of_client(cls, client: Redis) -> "Address":
        """The address that this client is connected to."""
        pool = client.connection_pool
        options = pool.connection_kwargs
        return cls(options, _tls(pool.connection_class, options))

    @property
    def login(self) -> list[tuple[str, ...]]:
        """The commands that come first on a connection."""
        commands: list[tuple[str, ...]] = []
        if password := self._options.get("password"):
            commands.append(("AUTH", self._options.get("username") or "default", password))
        if database := self._options.get("db"):
            commands.append(("SELECT", str(database)))
        return commands

    async def connect(self, wire: "Wire") -> None:
        """Connects this wire, without logging in; raises OSError."""
        await asyncio.get_running_loop().create_connection(
            lambda: wire,
            self._options.get("host") or "localhost",
            self._options.get("port") or 6379,
            ssl=self._tls,
        )


class Wire(asyncio.Protocol):
    """One connection. Each reply goes to `on_reply`, `on_lost` is called once when it is over.

    Where `on_reply` raises, the connection is over: nobody could tell which replies were taken.
    """

    def __init__(self, on_reply: OnReply, on_lost: OnLost) -> None:
        self.on_reply = on_reply
        self.lost = asyncio.Event()
        """Set once the connection is over."""
        self.heard_at = 0.0
        """When anything last came, in the loop's time."""
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the transport (asyncio.Protocol)."""
        # uvloop's transports are no asyncio.Transport by class, only by what they do.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever uses it (asyncio.Protocol)."""
        self._transport = None
        self.lost.set()
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Gives each whole reply to its taker (asyncio.Protocol)."""
        self.heard_at = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                self.on_reply(reply)
        except hiredis.ProtocolError:
            # Whatever speaks there, it is no Redis.
            self.abort()
        except Exception:
            # What came behind it is never given out: who waits for that must hear so.
            log.exception("a reply could not be taken: the connection is given up")
            self.abort()

    def send(self, *command: bytes | str | int) -> None:
        """Writes a command; on a lost connection nothing happens."""
        self.write(hiredis.pack_command(command))  # type: ignore[arg-type]

    def write(self, packed: bytes) -> None:
        """The same, of commands that are packed already."""
        if self._transport is not None:
            self._transport.write(packed)

    def abort(self) -> None:
        """Drops the connection at once."""
        if self._transport is not None:
            self._transport.abort()


async def open_wire(address: Address, on_reply: OnReply, on_lost: OnLost) -> Wire:
    """A connection that is logged in; raises REDIS_FAILURES, within WIRE_CONNECT_SECONDS."""
    replies: asyncio.Queue[Any] = asyncio.Queue()

    def lost(wire: Wire) -> None:
        replies.put_nowait(RedisConnectionError("the connection was lost"))
        on_lost(wire)

    wire = Wire(replies.put_nowait, lost)
    try:
        async with asyncio.timeout(WIRE_CONNECT_SECONDS):
            await address.connect(wire)
            commands = address.login
            for command in commands:
                wire.send(*command)
            for _ in commands:
                reply = await replies.get()
                if isinstance(reply, RedisError):
                    raise reply
                if isinstance(reply, hiredis.ReplyError):
                    raise failure(reply)
    except BaseException:
        wire.abort()
        raise
    wire.on_reply = on_reply
    return wire


def failure(reply: hiredis.ReplyError) -> RedisError:
    """The error that the client would raise for this reply."""
    message = str(reply)
    return (NoScriptError if message.startswith("NOSCRIPT") else ResponseError)(message)


def _tls(connection_class: Any, options: Mapping[str, Any]) -> ssl.SSLContext | None:
    if connection_class is not TlsConnection:
        return None
    named = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return TlsConnection(**named).ssl_context.get()
