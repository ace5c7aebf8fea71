"""A stage for readers: generations written as a worker writes them, over real Redis and SQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from redis.asyncio import Redis

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.database import Database
from jobs.events import Notice, Reset, Status
from jobs.generation import Generation, Kind, State
from jobs.ids import new_id
from jobs.publisher import Publisher, open_publisher
from jobs.pubsub import PubSub, open_pubsub
from jobs.redis_link import open_redis
from jobs.redis_pipeline import open_pipeline
from jobs.redis_wire import Address
from jobs.signals import Signals
from jobs.store.claims import claim, register_worker
from jobs.store.commits import Outcome, commit
from jobs.store.intake import Budget, NewGeneration, accept
from jobs.stream_log import StreamLog
from relay.follow import Follower, read_cursor
from relay.hub import Hub
from relay.pulse import open_pulse
from relay.sources import Sources
from tests.jobs.log_rig import started
from tests.relay.heard import Heard, heard, numbered
from tests.services import eventually

OWNER = "ann"
WITHIN = 20.0


@dataclass(slots=True)
class Reader:
    """A follower with everything that it gave so far; `start` reads on in the background."""

    follower: Follower
    chunks: list[bytes] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def join(self) -> Self:
        """Subscribes, acknowledged."""
        assert await self.follower.join()
        return self

    def start(self) -> Self:
        """Reads on in a task until the end."""
        self.task = asyncio.create_task(self.read())
        return self

    async def read(self) -> None:
        """Reads to the end of the stream, which must come in bounded time."""
        try:
            async with asyncio.timeout(WITHIN):
                async for chunk in self.follower.events():
                    self.chunks.append(chunk)
        finally:
            self.follower.close()

    async def finish(self) -> list[Heard]:
        """All numbered events, once the stream has ended."""
        if self.task is None:
            await self.read()
        else:
            await self.task
        return self.events

    @property
    def events(self) -> list[Heard]:
        """The numbered events so far."""
        return numbered(heard(self.chunks))

    @property
    def all_events(self) -> list[Heard]:
        """With heartbeats and `idle`."""
        return heard(self.chunks)

    async def hears(self, condition: Callable[[list[Heard]], bool], within: float = WITHIN) -> None:
        """Returns once what it heard meets the condition."""
        await eventually(lambda: condition(self.all_events), within=within)

    async def hears_up_to(self, seq: int, attempt: int = 1) -> None:
        """Returns once it has the event with this seq."""

        def has(events: list[Heard]) -> bool:
            last = numbered(events)[-1:]
            return bool(last) and (last[0].cursor.attempt, last[0].cursor.seq) >= (attempt, seq)

        await self.hears(has)

    def leave(self) -> None:
        """Goes away in mid-stream."""
        if self.task is not None:
            self.task.cancel()
        self.follower.close()


@dataclass(frozen=True, slots=True)
class ReadingSide:
    """What one relay reads with."""

    sources: Sources
    redis: Redis
    pubsub: PubSub

    def reader(self, generation_id: str, cursor: object = None) -> Reader:
        """A reader with this cursor that has not joined yet."""
        given = read_cursor(None if cursor is None else str(cursor))
        return Reader(Follower(self.sources, generation_id, given))

    async def joined(self, generation_id: str, cursor: object = None) -> Reader:
        """A reader that has joined and reads on in a task."""
        return (await self.reader(generation_id, cursor).join()).start()

    async def told(self, generation_id: str, cursor: object = None) -> list[Heard]:
        """All that a reader with this cursor is told until the end."""
        return await (await self.joined(generation_id, cursor)).finish()


@asynccontextmanager
async def reading_side(
    database_url: str,
    redis_url: str,
    *,
    lease: float = 10.0,
    heartbeat: float = 10.0,
    idle: float = 90.0,
) -> AsyncIterator[ReadingSide]:
    """One relay's reading side; several may read the same."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(database_url))
        redis = await stack.enter_async_context(open_redis(redis_url))
        calls = await stack.enter_async_context(open_pipeline(Address.of_url(redis_url)))
        pages = await stack.enter_async_context(open_pipeline(Address.of_url(redis_url), 8))
        pulse = await stack.enter_async_context(open_pulse(database, lease))
        pubsub = await stack.enter_async_context(open_pubsub(redis_url))
        await eventually(lambda: pubsub.connected)
        sources = Sources(
            database=database,
            stream_log=StreamLog(redis, fetch=pages.call),
            signals=Signals(calls),
            hub=Hub(pubsub),
            pulse=pulse,
            lease_seconds=lease,
            heartbeat_seconds=heartbeat,
            idle_timeout_seconds=idle,
        )
        yield ReadingSide(sources, redis, pubsub)


@dataclass(slots=True)
class Author:
    """Writes generations as a worker does, without a model: claim, append, commit, announce."""

    database: Database
    redis: Redis
    stream_log: StreamLog
    publisher: Publisher
    worker_id: str
    owner: str

    async def queued(self, said: str = "hello") -> Generation:
        """A generation that was just stored."""
        accepted = await accept(
            self.database,
            NewGeneration(owner=self.owner, kind=Kind.CHAT, input=said, model="none"),
            generation_id=new_id("gen"),
            budget=Budget(),
            expires_seconds=600,
        )
        return accepted.generation

    async def begin(self, generation: Generation, seen: int = 0) -> AttemptLog:
        """Claims the attempt after `seen`, whose worker counts as lost, and opens its log."""
        return await self.begin_id(generation.id, seen)

    async def begin_id(self, generation_id: str, seen: int = 0) -> AttemptLog:
        """The same for a generation that somebody else stored."""
        claimed = await claim(
            self.database, generation_id, seen, self.worker_id, lease_seconds=-1 if seen else 10
        )
        assert claimed is not None
        log = started(self.publisher, claimed.id, claimed.attempt)
        if claimed.reset is not None:
            log.append("reset", Reset(claimed.reset, claimed.attempt))
        log.append("status", Status(State.RUNNING, claimed.attempt))
        return log

    async def running(self, said: str = "hello") -> AttemptLog:
        """The log of a generation that was just claimed."""
        return await self.begin(await self.queued(said))

    async def flush(self) -> None:
        """Returns once Redis has all that was appended."""
        assert await self.publisher.drain(5)

    async def commit(self, log: AttemptLog, state: State = State.COMPLETED) -> Generation:
        """Commits the attempt and announces nothing."""
        end = log.close()
        committed = await commit(
            self.database,
            log.generation_id,
            log.attempt,
            Outcome(
                state=state,
                text=log.text,
                timeline=log.timeline(),
                last_seq=end.seq,
                last_offset=end.offset,
                finish_reason="stop",
            ),
        )
        assert committed is not None
        return committed.generation

    async def end(self, log: AttemptLog, state: State = State.COMPLETED) -> Generation:
        """Commits the attempt and announces its end."""
        generation = await self.commit(log, state)
        log.append_terminal(generation)
        await self.flush()
        return generation

    async def log_of(self, log: AttemptLog) -> list[Heard]:
        """The events that Redis has of this attempt; what was not kept is left out."""
        frames: list[bytes] = []
        while (
            page := await self.stream_log.read(log.generation_id, log.attempt, len(frames) + 1)
        ) is not None and page.frames:
            frames += page.frames
        return heard(one for one in frames if one)

    async def lose_log(self, log: AttemptLog) -> None:
        """Redis loses this generation's log."""
        assert await self.redis.delete(keys.log(log.generation_id)) == 1


@asynccontextmanager
async def authoring(
    database_url: str,
    redis_url: str,
    *,
    flush_ms: float = 0.0,
    answers_checks: bool = True,
    owner: str = OWNER,
) -> AsyncIterator[Author]:
    """An author until the block ends; it looks at its logs when a relay asks for it."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(database_url))
        redis = await stack.enter_async_context(open_redis(redis_url))
        stream_log = StreamLog(redis)
        publisher = await stack.enter_async_context(
            open_publisher(stream_log, flush_ms=flush_ms, ttl_seconds=3600, lease_seconds=10)
        )
        pubsub = await stack.enter_async_context(open_pubsub(redis_url))

        def control(message: bytes) -> None:
            verb, _, generation_id = message.decode().partition(" ")
            if verb == "check" and answers_checks:
                publisher.check(generation_id)

        listening = pubsub.subscribe(keys.CONTROL, control, lambda: None)
        assert await listening.wait(5)
        worker_id = new_id("wrk")
        await register_worker(database, worker_id, 10)
        yield Author(database, redis, stream_log, publisher, worker_id, owner)


async def write_fast(author: Author, log: AttemptLog, events: int) -> None:
    """Writes so many events, a notice among every ten, as fast as Redis takes them."""
    for number in range(events):
        if number % 10 == 9:
            log.append("notice", Notice("n", str(number)))
        else:
            log.append_text(f"tøken {number} 🎉 ")
        await author.flush()
