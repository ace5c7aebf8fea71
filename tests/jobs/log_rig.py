"""What tests of the log share: a publisher over a real Redis, and a listener to what it tells."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from jobs import keys
from jobs.attempt_log import AttemptLog
from jobs.generation import Generation, Kind, Output, State
from jobs.publisher import Publisher, open_publisher
from jobs.pubsub import PubSub, open_pubsub
from jobs.redis_link import open_redis
from jobs.stream_log import Message, StreamLog, parse_message

NAME = "gen_01"


@dataclass
class Listener:
    """A live reader of one generation, subscribed from the moment that it is given out."""

    messages: list[Message] = field(default_factory=list)
    subscriptions: int = 0

    @property
    def frames(self) -> bytes:
        """Everything that was told, as one piece."""
        return b"".join(message.frames for message in self.messages)


def started(
    publisher: Publisher, name: str, attempt: int = 1, on_fenced: Callable[[], None] = lambda: None
) -> AttemptLog:
    """A log that this publisher writes from now on."""
    attempt_log = publisher.log_of(name, attempt)
    publisher.start(attempt_log, on_fenced)
    return attempt_log


@dataclass
class Rig:
    """The pieces under test, all on one server."""

    redis: Redis
    stream_log: StreamLog
    publisher: Publisher
    pubsub: PubSub

    async def listen(self, name: str = NAME) -> Listener:
        """A listener whose subscription is acknowledged."""
        listener = Listener()

        def subscribed() -> None:
            listener.subscriptions += 1

        subscription = self.pubsub.subscribe(
            keys.live(name),
            lambda payload: listener.messages.append(parse_message(payload)),
            subscribed,
        )
        assert await subscription.wait(5)
        return listener

    def start(self, name: str = NAME, attempt: int = 1) -> AttemptLog:
        """A log that nobody fences."""
        return started(self.publisher, name, attempt)

    async def stored(self, name: str = NAME, attempt: int = 1) -> list[bytes]:
        """All frames of the attempt in Redis; asserts that they have no hole."""
        frames: list[bytes] = []
        while True:
            page = await self.stream_log.read(name, attempt, len(frames) + 1)
            assert page is not None, "the log has a hole"
            if not page.frames:
                return frames
            frames += page.frames


@asynccontextmanager
async def open_rig(
    url: str, *, flush_ms: float = 15, ttl_seconds: float = 3600, lease_seconds: float = 10
) -> AsyncIterator[Rig]:
    """A rig on the server that the URL names, until the block ends."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(url))
        stream_log = StreamLog(redis)
        pubsub = await stack.enter_async_context(open_pubsub(url))
        publisher = await stack.enter_async_context(
            open_publisher(
                stream_log,
                flush_ms=flush_ms,
                ttl_seconds=ttl_seconds,
                lease_seconds=lease_seconds,
            )
        )
        yield Rig(redis, stream_log, publisher, pubsub)


def ended(name: str = NAME, attempt: int = 1, text: str = "") -> Generation:
    """A completed generation with this text."""
    return Generation(
        id=name,
        kind=Kind.CHAT,
        state=State.COMPLETED,
        attempt=attempt,
        model="m",
        conversation_id="con_01",
        persona_id=None,
        input="say something",
        output=Output(len(text), "stop", None, (), (), text),
        usage=None,
        error=None,
        created_at="2026-01-01T00:00:00.000Z",
        started_at="2026-01-01T00:00:00.100Z",
        finished_at="2026-01-01T00:00:01.000Z",
        expires_at="2026-01-01T00:10:00.000Z",
        events_url=f"/v1/generations/{name}/events",
    )
