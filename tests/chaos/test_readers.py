"""Readers that are slow, dead, many, lost or wrong: the generation does not know of them."""

import asyncio
import random
import socket
import struct
import time
from contextlib import ExitStack

import psutil
import pytest

from tests.chaos.member import Member
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words
from tests.services import Direction, eventually

SPEAKING = "demo-words-60000-pace-15000"
DEAD_READER_SECONDS = 60.0
DEAD_READER_BYTES = 1 << 20
"""What a reader that never reads may cost the relay (protocol §5)."""


def never_reads(stack: ExitStack, relay: Member, generation_id: str) -> socket.socket:
    """A connection that asks for the stream and then takes nothing."""
    dead = stack.enter_context(socket.socket())
    dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    dead.connect(("127.0.0.1", relay.port))
    dead.sendall(f"GET /v1/generations/{generation_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return dead


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_readers_that_never_read_or_reset_change_nothing_for_the_others(
    system: System,
) -> None:
    relay = system.relays[0]
    asked = await system.ask(SPEAKING)
    reader = await system.read(asked, relay=relay).wrote()
    before = psutil.Process(relay.pid).memory_info().rss
    with ExitStack() as stack:
        dead = [never_reads(stack, relay, asked) for _ in range(20)]
        resetting = [never_reads(stack, relay, asked) for _ in range(20)]
        await eventually(lambda: relay.sockets(relay.port) >= 41)
        for one in resetting:
            reset(one)
        await assert_whole(system, reader, words(60_000), within=30)
        assert len([one for one in dead if one.fileno() >= 0]) == 20
        grown = psutil.Process(relay.pid).memory_info().rss - before
        assert grown < 40 * DEAD_READER_BYTES
    await eventually(lambda: relay.sockets(relay.port) <= 2, within=5)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_reader_that_never_reads_is_gone_within_a_minute_and_may_resume(
    system: System,
) -> None:
    relay = system.relays[0]
    asked = await system.ask(SPEAKING)
    with ExitStack() as stack:
        connected_at = time.monotonic()
        dead = never_reads(stack, relay, asked)
        await system.ended(asked, within=30)
        assert relay.sockets(dead.getsockname()[1]) == 1
        # What is in flight is more than its window takes, so the server has to give up.
        await eventually(
            lambda: relay.sockets(dead.getsockname()[1]) == 0, within=DEAD_READER_SECONDS, every=0.5
        )
        assert time.monotonic() - connected_at < DEAD_READER_SECONDS + 10
    await assert_whole(system, system.read(asked), words(60_000))


async def test_ten_clients_with_the_same_request_get_one_generation_and_one_run(
    system: System,
) -> None:
    before = await system.model_stats()
    answers = await asyncio.gather(
        *(
            system.ask_until_taken("the-same-key", "demo-words-20-pace-30", "Hello")
            for _ in range(10)
        )
    )
    ids = [one["id"] for one in answers]
    assert len(set(ids)) == 1
    readers = [system.read(ids[0]) for _ in range(10)]
    for reader in readers:
        await assert_whole(system, reader, words(20))
    assert (await system.model_stats())["requests"] == before["requests"] + 1


async def test_an_enqueue_whose_answer_was_lost_is_one_run(system: System) -> None:
    before = await system.model_stats()
    traps = [
        one.redis_link.cut_after(b"EXEC", Direction.UP) for one in system.relays if one.redis_link
    ]
    readers = await asyncio.gather(
        *(system.asked("demo-words-20-pace-30", said=f"{number}") for number in range(4))
    )
    for reader in readers:
        await assert_whole(system, reader, words(20))
    assert sum(trap.sprung for trap in traps) >= 1
    assert (await system.model_stats())["requests"] == before["requests"] + 4


@pytest.mark.parametrize("readers", [100, pytest.param(1_000, marks=pytest.mark.long)])
async def test_a_storm_of_readers_at_any_cursor_gets_exactly_the_rest(
    system: System, readers: int
) -> None:
    [first] = await wave(system, 1, "demo-words-80-pace-40")
    await first.wrote(len(words(30)))
    rng = random.Random(1)
    numbered = [one for one in first.numbered if one.cursor.attempt == 1]
    joined = [rng.choice(numbered) for _ in range(readers)]
    storm = [system.read(first.generation_id, cursor=one.id or "") for one in joined]
    assert first.end is None
    await assert_whole(system, first, words(80))
    for reader, start in zip(storm, joined, strict=True):
        await reader.finished(30)
        assert reader.resets == []
        assert reader.text == words(80)[start.cursor.offset :]
        assert reader.numbered[0].cursor > start.cursor
    # What is past in one answer, for those that come when all is over.
    late = [system.read(first.generation_id, cursor=one.id or "") for one in joined]
    for reader, start in zip(late, joined, strict=True):
        await reader.finished(30)
        assert reader.text == words(80)[start.cursor.offset :]
    assert first.end is not None
    again = system.read(first.generation_id, cursor=first.end.event.id or "")
    await again.finished(5)
    assert again.answered_204


@pytest.mark.parametrize("over", [False, True], ids=["running", "ended"])
async def test_a_cursor_that_can_not_be_right_is_told_so_once_and_then_everything(
    system: System, over: bool
) -> None:
    [reader] = await wave(system, 1, "demo-words-40-pace-30")
    if over:
        await reader.finished(10)
    wrong = ("x", "1.2", "9.1.0", "1.999.4", "1.4.4000", "1.0.5", "-1.1.0", "1.3.1e3")
    strangers = [system.read(reader.generation_id, cursor=cursor) for cursor in wrong]
    await reader.finished(10)
    for stranger in strangers:
        await stranger.finished(10)
        assert [seen.event.data["reason"] for seen in stranger.resets] == ["unknown_cursor"]
        assert stranger.text == words(40), stranger.tale()
