"""Puts generations in arq's queue and wakes the workers; one of the two files that know arq.

The queue is a hint too: what it loses, the rescuer puts in again, and a claim decides who runs it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import msgspec
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms

from jobs import keys
from jobs.outage import Outage
from jobs.redis_link import REDIS_FAILURES, connection_pool
from jobs.redis_pipeline import RedisPipeline, open_pipeline
from jobs.redis_script import Script
from jobs.redis_wire import Address

START_JOB = "start"
"""The one arq function: claims a generation and hands it to the worker's runner."""

JOB_EXPIRES_MS = 24 * 3600 * 1000
POLL_SECONDS = 1.0
"""How often a worker looks into the queue that nothing wakes."""
IDLE_MS = round(3000 * POLL_SECONDS)
"""For how long a worker that had room is given jobs without having looked again."""


def serialize(job: dict[str, Any]) -> bytes:
    """arq's job as JSON: no pickle, which would run whatever stands in Redis."""
    return msgspec.json.encode({name: value for name, value in job.items() if name != "r"})


def deserialize(raw: bytes) -> dict[str, Any]:
    """The job as it was serialized."""
    job: dict[str, Any] = msgspec.json.decode(raw)
    return job


@asynccontextmanager
async def open_arq(url: str) -> AsyncIterator[ArqRedis]:
    """arq's client, whose every call is bounded and fails at once when Redis is away."""
    pool = connection_pool(url)
    client = ArqRedis(
        connection_pool=pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=keys.QUEUE,
    )
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()


def job_of(generation_id: str, attempt: int) -> str:
    """What the job that starts the attempt after `attempt` is called."""
    return f"{generation_id}:{attempt}"


class Queue:
    """Enqueues; never raises for a Redis that is away."""

    def __init__(self, redis: RedisPipeline) -> None:
        self._redis = redis
        self._enqueue = Script((files("jobs") / "enqueue.lua").read_text(), redis.call)
        self._outage = Outage("the rescuer repeats what can't be enqueued")
        self.failures = 0
        """How many generations Redis did not take; the rescuer offers them again."""

    async def enqueue(self, generation_id: str, attempt: int, *, defer_seconds: float = 0) -> bool:
        """Offers the attempt after `attempt` to the workers; whether Redis took it.

        Again for the same attempt is harmless: it is one job, and one claim.
        """
        return await self.enqueue_all([(generation_id, attempt, defer_seconds)])

    async def enqueue_all(self, offers: Sequence[tuple[str, int, float]]) -> bool:
        """The same for many at once, each with its attempt and how long it is deferred."""
        now, jobs = timestamp_ms(), list[bytes | str | int]()
        for generation_id, attempt, defer_seconds in offers:
            started = (generation_id, attempt)
            payload = serialize_job(START_JOB, started, {}, None, now, serializer=serialize)
            jobs += (job_of(*started), payload, round(defer_seconds * 1000))
        try:
            # What arq's own enqueue does, in one go instead of three: nothing is to be watched,
            # since the same job again changes nothing.
            await self._enqueue.run(
                [keys.QUEUE, keys.IDLE], job_key_prefix, JOB_EXPIRES_MS, IDLE_MS, *jobs
            )
        except REDIS_FAILURES as error:
            self.failures += len(offers)
            self._outage.lasts(f"{type(error).__name__}: {error}")
            return False
        self._outage.over()
        return True

    async def depth(self) -> int:
        """How many jobs wait in the queue; raises REDIS_FAILURES."""
        return int(await self._redis.call("ZCARD", keys.QUEUE))


@asynccontextmanager
async def open_queue(url: str) -> AsyncIterator[Queue]:
    """A queue until the block ends."""
    async with open_pipeline(Address.of_url(url)) as redis:
        yield Queue(redis)
