"""Whatever becomes of a connection, a call raises what is known to mean that Redis is away."""

import asyncio
import socket
import struct

import uvloop

from jobs.queue import open_queue
from jobs.redis_link import (
    REDIS_FAILURES,
    TcpConnection,
    TlsConnection,
    connection_pool,
    open_redis,
)

AT_ONCE = 60


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _call_what_resets() -> None:
    server = await asyncio.start_server(_reset, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server, open_redis(url) as redis, open_queue(url) as queue:
        for _ in range(5):
            taken = await asyncio.gather(*(queue.enqueue("gen_1", n) for n in range(AT_ONCE)))
            assert not any(taken)
            pings = (redis.ping() for _ in range(AT_ONCE))
            for answer in await asyncio.gather(*pings, return_exceptions=True):
                assert isinstance(answer, REDIS_FAILURES), repr(answer)


def test_a_connection_that_is_reset_before_its_first_command_is_a_failure_of_redis() -> None:
    # Both programs run on uvloop, which says RuntimeError where asyncio would stay silent.
    uvloop.run(_call_what_resets())


def test_every_pool_holds_the_server_to_its_certificate() -> None:
    pool = connection_pool("rediss://cache.example:6380/0")
    assert pool.connection_class is TlsConnection
    assert pool.connection_kwargs["ssl_check_hostname"] is True
    assert connection_pool("redis://127.0.0.1:6379/0").connection_class is TcpConnection
