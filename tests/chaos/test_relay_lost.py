"""A relay that dies or stops costs its readers a reconnect, and nothing else."""

import asyncio
import time

import pytest

from relay.server import STOPPING_SECONDS
from tests.chaos.reader import Reader
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, words
from tests.services import eventually

CROWD = 1_000


async def test_readers_of_a_killed_relay_go_on_at_another(system: System) -> None:
    relay, other = system.relays
    asked = await asyncio.gather(
        *(system.ask("demo-words-60-pace-20", f"Hello {number}") for number in range(10))
    )
    readers = [system.read(one, relay=relay) for one in asked]
    await asyncio.gather(*(reader.wrote() for reader in readers))
    relay.kill()
    for reader in readers:
        move(reader, other.url)
    for reader in readers:
        await assert_whole(system, reader, words(60))
        assert len(reader.troubles) == 1


async def test_a_stopping_relay_cuts_its_streams_and_is_gone_in_time(system: System) -> None:
    relay, other = system.relays
    asked = await system.ask("demo-words-60-pace-20")
    readers = [system.read(asked, relay=relay) for _ in range(5)]
    await asyncio.gather(*(reader.wrote() for reader in readers))
    asked_at = relay.ask_to_stop()
    assert await relay.stopped(within=15) - asked_at < STOPPING_SECONDS + 2
    for reader in readers:
        # Cut, not ended: a clean end would be the whole answer to most clients.
        await reader.until(lambda one: bool(one.troubles))
        assert "clean end" not in reader.troubles[0].how
        await reader.leave()
    whole = system.read(asked, relay=other)
    await assert_whole(system, whole, words(60))


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_thousand_streams_end_with_their_relay_and_all_are_served_by_another(
    system: System,
) -> None:
    """SIGTERM with a thousand open streams is bounded, and their reconnect storm is served."""
    first, second = system.relays
    asked = await system.ask("demo-words-400-pace-10")
    crowd = [system.read(asked, relay=first) for _ in range(CROWD)]
    await asyncio.gather(*(reader.wrote(1, within=60) for reader in crowd))
    assert first.sockets(first.port) >= CROWD
    memory = second.child.pid
    asked_at = first.ask_to_stop()
    for reader in crowd:
        move(reader, second.url)
    assert await first.stopped(within=30) - asked_at < STOPPING_SECONDS + 5
    cut_at = {reader: len(reader.text) for reader in crowd}
    await asyncio.gather(
        *(reader.until(lambda one: len(one.text) > cut_at[one], 60) for reader in crowd)
    )
    assert second.child.pid == memory
    for reader in crowd:
        assert reader.troubles, "its stream was not cut"
    await asyncio.gather(*(reader.finished(90) for reader in crowd))
    for reader in crowd:
        assert reader.text == words(400)
        assert reader.resets == []
    await eventually(lambda: second.sockets(second.port) < 20, within=10)


def move(reader: Reader, url: str) -> None:
    """Have its next connection go elsewhere."""
    reader.where = lambda: url


@pytest.mark.long
async def test_a_frozen_relay_goes_on_where_it_stood(system: System) -> None:
    relay = system.relays[0]
    asked = await system.ask("demo-words-100-pace-25")
    readers = [system.read(asked, relay=relay) for _ in range(5)]
    await asyncio.gather(*(reader.wrote() for reader in readers))
    relay.freeze()
    frozen_at = time.monotonic()
    await asyncio.sleep(3.0)
    relay.thaw()
    for reader in readers:
        assert not [one for one in reader.seen if frozen_at + 0.5 < one.at < frozen_at + 2.5]
        await assert_whole(system, reader, words(100))
