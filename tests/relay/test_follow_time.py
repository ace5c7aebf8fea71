"""Deadlines are compared with the clock: silence, heartbeats, and a clock that jumps."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol

import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from jobs.errors import Unavailable
from relay import follow, pulse
from tests.relay.heard import Heard
from tests.relay.stage import Author, Reader, ReadingSide, authoring, reading_side
from tests.services import eventually


class OpenSide(Protocol):
    """Opens a reading side with time limits in seconds."""

    def __call__(
        self, *, lease: float = 10, heartbeat: float = 10, idle: float = 90
    ) -> AbstractAsyncContextManager[ReadingSide]: ...


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
def open_side(migrated_url: str, redis_url: str) -> OpenSide:
    """Reading sides over the author's servers."""

    @asynccontextmanager
    async def opened(
        *, lease: float = 10, heartbeat: float = 10, idle: float = 90
    ) -> AsyncIterator[ReadingSide]:
        async with reading_side(
            migrated_url, redis_url, lease=lease, heartbeat=heartbeat, idle=idle
        ) as side:
            yield side

    return opened


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pulse looks at the clock often; what it sees there is the test's to say."""
    monkeypatch.setattr(pulse, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(pulse, "REST_SECONDS", 0.01)


@pytest.fixture
def clock() -> Iterator[FrozenDateTimeFactory]:
    """A clock that stands still until it is told to move; asyncio's own goes on."""
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as frozen:
        assert isinstance(frozen, FrozenDateTimeFactory)
        yield frozen


def has_beats(reader: Reader, number: int) -> bool:
    return len(of(reader.all_events, "heartbeat")) == number


def of(events: list[Heard], name: str) -> list[Heard]:
    return [one for one in events if one.event == name]


async def test_a_clock_past_the_deadline_between_two_events_delivers_the_end(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory
) -> None:
    async with open_side() as side:
        log = await author.running()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)
        clock.tick(80)
        log.append_text("one ")
        await author.flush()
        await reader.hears_up_to(2)
        # 160 s after the stream began, 80 s after its last event: age is not silence.
        clock.tick(80)
        log.append_text("two")
        await author.end(log)
        told = await reader.finish()
        assert [one.event for one in told] == ["status", "token", "token", "completed"]
        assert of(reader.all_events, "idle") == []


async def test_silence_past_the_idle_timeout_is_told_and_ends_the_stream(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory
) -> None:
    async with open_side() as side:
        log = await author.running()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)
        clock.tick(89)
        await reader.hears(lambda events: len(of(events, "heartbeat")) == 1)
        assert of(reader.all_events, "idle") == []
        clock.tick(1)
        await reader.finish()
        last = reader.all_events[-1]
        assert (last.event, last.id) == ("idle", None)
        assert last.data == {"state": "running", "silent_seconds": 90.0}
        assert side.sources.pulse.streams == side.sources.hub.channels == 0
        again = await side.joined(log.generation_id, reader.events[-1].cursor)
        log.append_text("back")
        await author.end(log)
        assert [one.event for one in await again.finish()] == ["token", "completed"]


async def test_heartbeats_come_on_silent_streams_alone_and_dont_restart_the_idle_time(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory
) -> None:
    async with open_side(heartbeat=10, idle=45) as side:
        log = await author.running()
        log.append_text("ChidÉ 🎉")
        await author.flush()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(2)
        for beat in range(1, 5):
            clock.tick(10)
            await eventually(partial(has_beats, reader, beat))
        clock.tick(5)
        await reader.finish()
        beats = of(reader.all_events, "heartbeat")
        assert {one.id for one in beats} == {None}
        assert [one.data for one in beats] == [
            {"state": "running", "attempt": 1, "seq": 2, "worker": "alive", "silent_seconds": s}
            for s in (10.0, 20.0, 30.0, 40.0)
        ]
        assert reader.all_events[-1].event == "idle"


async def test_an_event_restarts_the_time_to_the_next_heartbeat(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory
) -> None:
    async with open_side() as side:
        log = await author.running()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)
        for seq in range(2, 8):
            clock.tick(9)
            log.append_text("x")
            await author.flush()
            await reader.hears_up_to(seq)
        assert of(reader.all_events, "heartbeat") == []
        reader.leave()


@pytest.mark.parametrize(("lease", "worker"), [(10, "alive"), (0.001, "lost")])
async def test_a_heartbeat_says_who_works_on_it(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory, lease: float, worker: str
) -> None:
    async with open_side(lease=lease) as side:
        waiting = await side.joined((await author.queued()).id)
        running = await side.joined((await author.running()).generation_id)
        for reader in (waiting, running):
            await reader.hears(lambda events: len(events) == 1)
        clock.tick(10)
        for reader in (waiting, running):
            await reader.hears(lambda events: len(of(events, "heartbeat")) == 1)
        told = [of(one.all_events, "heartbeat")[0].data for one in (waiting, running)]
        assert [(one["state"], one["attempt"], one["seq"], one["worker"]) for one in told] == [
            ("queued", 0, 1, "none"),
            ("running", 1, 1, worker),
        ]
        for reader in (waiting, running):
            reader.leave()


async def test_a_database_that_is_away_leaves_the_last_sign_in_the_heartbeat(
    author: Author,
    open_side: OpenSide,
    clock: FrozenDateTimeFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_side() as side:
        log = await author.running()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)

        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("the database")

        monkeypatch.setattr(pulse, "read_unusual", fails)
        clock.tick(10)
        await reader.hears(lambda events: len(of(events, "heartbeat")) == 1)
        beat = of(reader.all_events, "heartbeat")[0].data
        assert (beat["state"], beat["worker"]) == ("running", "alive")
        reader.leave()


async def test_what_waited_for_a_slow_reader_is_told_before_any_idle(
    author: Author, open_side: OpenSide, clock: FrozenDateTimeFactory
) -> None:
    async with open_side() as side:
        log = await author.running()
        await author.flush()
        reader = await side.reader(log.generation_id).join()
        events = reader.follower.events()
        await anext(events)
        log.append_text("while it was not reading")
        await author.flush()
        await eventually(lambda: len(reader.follower._inbox) == 1)
        clock.tick(100)
        await eventually(lambda: reader.follower._idle)
        assert b"event: token" in await anext(events)
        # It was no silence, so the time begins anew.
        following = asyncio.ensure_future(anext(events))
        await asyncio.wait([following], timeout=0.05)
        assert not following.done()
        log.append_text("!")
        await author.flush()
        assert b"event: token" in await following
        await author.end(log)
        assert b"event: completed" in b"".join([chunk async for chunk in events])
        reader.follower.close()


async def test_a_waiting_one_is_looked_at_again_without_any_message(
    author: Author,
    open_side: OpenSide,
    clock: FrozenDateTimeFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_side() as side:
        log = await author.running()
        reader = await side.joined(log.generation_id)
        await reader.hears_up_to(1)
        monkeypatch.setattr(follow.Follower, "on_message", lambda *_: None)
        log.append_text("unheard")
        await author.end(log)
        clock.tick(10)
        assert [one.event for one in await reader.finish()] == ["status", "token", "completed"]
