"""Readers that never read cost their relay little, each of them, and are gone in bounded time."""

import asyncio
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from jobs.attempt_log import AttemptLog
from jobs.events import Notice
from tests.chaos.conftest import Start
from tests.chaos.member import Member
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, words
from tests.relay.stage import Author, authoring
from tests.services import eventually

SPEAKING = "demo-words-60000-pace-15000"
DEAD_READER_SECONDS = 60.0
DEAD_READER_BYTES = 1 << 20
"""What a reader that never reads may cost the relay (protocol §5)."""
READERS = 16
EVENTS, EVENT_BYTES = 3_000, 1_000
"""Three times what a reader may cost is written for each of them."""
EVENTS_A_FLUSH = 20


def never_reads(stack: ExitStack, relay: Member, generation_id: str) -> socket.socket:
    """A connection that asks for the stream and then takes nothing."""
    dead = stack.enter_context(socket.socket())
    dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    dead.connect(("127.0.0.1", relay.port))
    dead.sendall(f"GET /v1/generations/{generation_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return dead


async def is_served(dead: socket.socket) -> None:
    """Return once the stream of one that never reads has begun."""
    dead.setblocking(False)

    def has_begun() -> bool:
        try:
            return b"event: status" in dead.recv(1 << 16, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    await eventually(has_begun)


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def takes_all(relay: Member, generation_id: str) -> None:
    """A reader that takes whatever comes, until it has all events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(f"GET /v1/generations/{generation_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    taken = 0
    while taken < EVENTS * EVENT_BYTES:
        chunk = await reader.read(1 << 16)
        assert chunk
        taken += len(chunk)
    writer.close()


async def write(author: Author, logs: Sequence[AttemptLog]) -> None:
    """Every event of these generations, to whoever is there."""
    for _ in range(EVENTS // EVENTS_A_FLUSH):
        for log in logs:
            for _ in range(EVENTS_A_FLUSH):
                log.append("notice", Notice("n", "x" * EVENT_BYTES))
        await author.flush()


async def test_each_reader_that_never_reads_costs_a_megabyte_at_most(
    start_system: Start, tmp_path: Path
) -> None:
    # Nobody takes what is written here for lost, and nobody else writes.
    system = await start_system(relays=1, workers=0, lease=120)
    [relay] = system.relays
    process = psutil.Process(relay.pid)
    database_url = f"sqlite+aiosqlite:///{tmp_path}/relay.db"
    async with authoring(database_url, system.redis.url, owner="local") as author:
        # The same with readers that read: what a relay ever needs for it is not theirs.
        read = [await author.running() for _ in range(READERS)]
        await author.flush()
        async with asyncio.TaskGroup() as takers:
            for log in read:
                takers.create_task(takes_all(relay, log.generation_id))
            await eventually(lambda: relay.sockets(relay.port) == READERS)
            await write(author, read)
        before = process.memory_info().rss
        with ExitStack() as stack:
            # Each with a generation of its own, so that none shares what is kept for another.
            unread = [await author.running() for _ in range(READERS)]
            await author.flush()
            live = [never_reads(stack, relay, log.generation_id) for log in unread]
            await asyncio.gather(*map(is_served, live))
            await write(author, unread)
            assert relay.sockets(relay.port) == READERS
            assert process.memory_info().rss - before < READERS * DEAD_READER_BYTES
            # And those who come when it is all past.
            before = process.memory_info().rss
            for log in unread:
                await is_served(never_reads(stack, relay, log.generation_id))
            assert relay.sockets(relay.port) == 2 * READERS
            assert process.memory_info().rss - before < READERS * DEAD_READER_BYTES
    await eventually(lambda: relay.sockets(relay.port) == 0)


async def test_readers_that_never_read_or_reset_change_nothing_for_the_others(
    system: System,
) -> None:
    relay = system.relays[0]
    asked = await system.ask(SPEAKING)
    reader = await system.read(asked, relay=relay).wrote()
    with ExitStack() as stack:
        dead = [never_reads(stack, relay, asked) for _ in range(20)]
        resetting = [never_reads(stack, relay, asked) for _ in range(20)]
        await eventually(lambda: relay.sockets(relay.port) >= 41)
        for one in resetting:
            reset(one)
        await assert_whole(system, reader, words(60_000), within=30)
        ports = {one.getsockname()[1] for one in dead}
        assert sum(relay.sockets(port) for port in ports) == 20
    await eventually(lambda: relay.sockets(relay.port) <= 2, within=5)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_readers_that_never_read_are_gone_within_a_minute_and_may_resume(
    system: System,
) -> None:
    relay = system.relays[0]
    files = relay.files()
    asked = await system.ask(SPEAKING)
    with ExitStack() as stack:
        connected_at = time.monotonic()
        dead = [never_reads(stack, relay, asked) for _ in range(READERS)]
        ports = {one.getsockname()[1] for one in dead}
        await system.ended(asked, within=30)
        assert sum(relay.sockets(port) for port in ports) == READERS
        # What is in flight is more than their windows take, so the server has to give up.
        await eventually(
            lambda: not any(relay.sockets(port) for port in ports),
            within=DEAD_READER_SECONDS,
            every=0.5,
        )
        assert time.monotonic() - connected_at < DEAD_READER_SECONDS
        assert relay.files() < files + READERS
    await assert_whole(system, system.read(asked), words(60_000))
