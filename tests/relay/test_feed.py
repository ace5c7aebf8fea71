"""The feed: what is active at every connect, then each change in order, and nothing stale."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest
from freezegun import freeze_time

from jobs.deleted import DeletedGeneration, Deletion
from jobs.generation import Generation, State
from jobs.store.reads import list_active
from relay import feed as feed_module
from relay import pulse as pulse_module
from relay.feed import Feed
from tests.relay.heard import Heard, heard
from tests.relay.stage import OWNER, Author, ReadingSide, authoring, reading_side
from tests.services import RedisServer, eventually


@dataclass(slots=True)
class Watching:
    """A feed whose chunks are read in a task."""

    feed: Feed
    chunks: list[bytes] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def _read(self) -> None:
        async for chunk in self.feed.events():
            self.chunks.append(chunk)

    def start(self) -> "Watching":
        """Reads until it is left."""
        self.task = asyncio.create_task(self._read())
        return self

    @property
    def events(self) -> list[Heard]:
        """All of it so far."""
        return heard(self.chunks)

    def shown(self) -> dict[str, str]:
        """What a page would show as active now."""
        shown: dict[str, str] = {}
        for one in self.events:
            if one.event == "snapshot":
                shown = {each["id"]: each["state"] for each in one.data["generations"]}
            elif one.event == "generation" and State(one.data["state"]).terminal:
                shown.pop(one.data["id"], None)
            elif one.event == "generation":
                shown[one.data["id"]] = one.data["state"]
        return shown

    async def hears(self, number: int) -> None:
        """Returns once so many events came."""
        await eventually(lambda: len(self.events) >= number)

    async def leave(self) -> None:
        """Goes away."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        self.feed.close()


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


@pytest.fixture
async def side(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[ReadingSide]:
    """Who reads."""
    async with reading_side(migrated_url, redis_url) as side:
        yield side


@pytest.fixture
async def watching(side: ReadingSide) -> AsyncIterator[Watching]:
    """A reader of the owner's feed that has its snapshot."""
    one = Watching(Feed(side.sources, OWNER)).start()
    await one.hears(1)
    yield one
    await one.leave()


def in_state(generation: Generation, state: State) -> Generation:
    return msgspec.structs.replace(generation, state=state)


async def test_it_begins_with_all_that_is_active(author: Author, side: ReadingSide) -> None:
    running = (await author.running()).generation_id
    queued = (await author.queued()).id
    ended = await author.running()
    await author.end(ended)
    one = Watching(Feed(side.sources, OWNER)).start()
    other = Watching(Feed(side.sources, "somebody else")).start()
    await one.hears(1)
    await other.hears(1)
    assert one.events[0].event == "snapshot"
    assert one.shown() == {running: "running", queued: "queued"}
    assert other.shown() == {}
    assert {each.id for each in one.events} == {None}
    await one.leave()
    await other.leave()
    assert side.sources.hub.channels == side.sources.pulse.streams == 0


async def test_each_change_follows_in_order_without_text(
    author: Author, side: ReadingSide, watching: Watching
) -> None:
    log = await author.running()
    log.append_text("a text that the feed leaves out")
    ended = await author.end(log)
    for state in (State.QUEUED, State.RUNNING):
        await side.sources.signals.changed(OWNER, in_state(ended, state))
    await side.sources.signals.changed("bob", ended)
    await side.sources.signals.changed(OWNER, ended)
    await watching.hears(4)
    assert [(one.event, one.data.get("state")) for one in watching.events[1:]] == [
        ("generation", "queued"),
        ("generation", "running"),
        ("generation", "completed"),
    ]
    assert "text" not in watching.events[-1].data["output"]
    assert watching.shown() == {}


async def test_a_start_that_its_end_overtook_is_not_shown(
    author: Author, side: ReadingSide, watching: Watching
) -> None:
    ended = await author.end(await author.running())
    other = await author.queued()
    for change in (ended, in_state(ended, State.RUNNING), in_state(other, State.RUNNING)):
        await side.sources.signals.changed(OWNER, change)
    await watching.hears(3)
    assert watching.shown() == {other.id: "running"}


async def test_what_is_deleted_is_told_in_its_place_among_the_changes(
    author: Author, side: ReadingSide, watching: Watching
) -> None:
    ended = await author.end(await author.running())
    gone = DeletedGeneration(ended.id, ended.conversation_id)
    signals = side.sources.signals
    await signals.changed(OWNER, ended)
    await signals.deleted("bob", Deletion(personas=("per_of_bob",)))
    await signals.deleted(OWNER, Deletion(personas=("per_1",)))
    await signals.deleted(OWNER, Deletion(generations=(gone,)))
    await watching.hears(4)
    assert [(one.event, one.data) for one in watching.events[2:]] == [
        ("deleted", {"personas": ["per_1"], "generations": []}),
        (
            "deleted",
            {
                "personas": [],
                "generations": [{"id": ended.id, "conversation_id": ended.conversation_id}],
            },
        ),
    ]


async def test_a_lost_link_brings_a_new_snapshot(
    author: Author, watching: Watching, redis_server: RedisServer
) -> None:
    unheard = await author.queued()
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await watching.hears(2)
    assert watching.shown() == {unheard.id: "queued"}
    assert {one.event for one in watching.events} == {"snapshot"}


async def test_a_slow_reader_holds_a_bounded_inbox_and_then_gets_a_snapshot(
    author: Author, side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "INBOX_BYTES", 5_000)
    feed = Feed(side.sources, OWNER)
    events = feed.events()
    assert b"event: snapshot" in await anext(events)
    generation = await author.queued("x" * 1_000)
    for _ in range(100):
        await side.sources.signals.changed(OWNER, generation)
        assert feed._inbox_bytes <= 5_000
    await eventually(lambda: feed._stale)
    assert heard([await anext(events)])[0].event == "snapshot"
    await events.aclose()
    feed.close()


async def test_a_heartbeat_comes_in_silence_by_the_clock(
    side: ReadingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "TICK_SECONDS", 0.005)
    monkeypatch.setattr(pulse_module, "REST_SECONDS", 0.005)
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        one = Watching(Feed(side.sources, OWNER)).start()
        await one.hears(1)
        for beat in range(1, 4):
            clock.tick(10)
            await one.hears(1 + beat)
        assert [each.event for each in one.events] == ["snapshot", *["heartbeat"] * 3]
        assert one.events[-1].data == {}
        await one.leave()


async def test_a_feed_that_was_never_read_holds_nothing_once_closed(side: ReadingSide) -> None:
    feed = Feed(side.sources, OWNER)
    assert side.sources.pulse.streams == 1
    feed.close()
    feed.close()
    assert side.sources.hub.channels == side.sources.pulse.streams == 0


async def test_what_is_shown_agrees_with_the_rows_after_many_changes(
    author: Author, side: ReadingSide, watching: Watching
) -> None:
    logs = []
    for number in range(12):
        queued = await author.queued()
        await side.sources.signals.changed(OWNER, queued)
        if number % 3:
            logs.append(await author.begin(queued))
            await side.sources.signals.changed(OWNER, in_state(queued, State.RUNNING))
    for log in logs[::2]:
        await side.sources.signals.changed(OWNER, await author.end(log))
    active = {one.id: one.state for one in await list_active(author.database, OWNER)}
    await eventually(lambda: watching.shown() == active)
