"""The queue is a hint: twice is once, late is late, and a Redis that is away is no error."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from arq.utils import timestamp_ms
from hypothesis import given
from hypothesis import strategies as st

from jobs import keys
from jobs.pubsub import open_pubsub
from jobs.queue import deserialize, open_queue, serialize
from tests.services import RedisServer, eventually


async def test_the_same_attempt_twice_is_one_job(redis_url: str) -> None:
    async with open_queue(redis_url) as queue:
        for _ in range(3):
            assert await queue.enqueue("gen_1", 0)
        assert await queue.depth() == 1
        assert await queue.enqueue("gen_1", 1)
        assert await queue.depth() == 2
        assert queue.failures == 0


async def test_an_enqueue_wakes_the_workers_and_a_deferred_one_does_not(redis_url: str) -> None:
    woken: list[bytes] = []
    async with open_queue(redis_url) as queue, open_pubsub(redis_url) as pubsub:
        assert await pubsub.subscribe(keys.QUEUE, woken.append, lambda: None).wait()
        await queue.enqueue("gen_late", 0, defer_seconds=2.5)
        await queue.enqueue("gen_now", 0)
        await eventually(lambda: len(woken) == 1)


async def test_many_are_enqueued_in_one_call_each_at_the_soonest_of_its_times(
    redis_server: RedisServer, redis_url: str
) -> None:
    async with open_queue(redis_url) as queue:
        await queue.enqueue("gen_7", 0, defer_seconds=60)
        redis_server.command("CONFIG", "RESETSTAT")
        assert await queue.enqueue_all([(f"gen_{n}", 0, 1 + n / 10) for n in range(100)])
        assert await queue.depth() == 100
    due = redis_server.command("ZRANGE", keys.QUEUE, 0, -1)
    assert due == [f"gen_{n}:0".encode() for n in range(100)]
    stats = redis_server.command("INFO", "commandstats")
    assert isinstance(stats, dict)
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_publish" not in stats
    assert redis_server.command("GET", "arq:job:gen_42:0") is not None


@pytest.mark.parametrize("ahead_seconds", [-40, 40])
async def test_what_is_due_is_so_whatever_the_clock_of_who_offers_it(
    redis_server: RedisServer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    ahead_seconds: int,
) -> None:
    wrong = timestamp_ms() + ahead_seconds * 1000
    monkeypatch.setattr("jobs.queue.timestamp_ms", lambda: wrong)
    before = time.time()
    async with open_queue(redis_url) as queue:
        assert await queue.enqueue("gen_now", 0)
        assert await queue.enqueue("gen_later", 0, defer_seconds=10)
        assert await queue.enqueue("gen_later", 0, defer_seconds=20)
    due = redis_server.command("ZRANGE", keys.QUEUE, 0, -1, "WITHSCORES")
    assert isinstance(due, list)
    now, at_once, later, deferred = due
    assert (now, later) == (b"gen_now:0", b"gen_later:0")
    assert -1 <= float(at_once) / 1000 - before < 5
    assert 9 <= float(deferred) / 1000 - before < 15


async def test_no_job_is_pickled(redis_server: RedisServer, redis_url: str) -> None:
    async with open_queue(redis_url) as queue:
        await queue.enqueue("gen_1", 0)
    raw = redis_server.command("GET", "arq:job:gen_1:0")
    assert isinstance(raw, bytes)
    assert deserialize(raw)["a"] == ["gen_1", 0]
    assert raw.startswith(b"{")


async def test_a_redis_that_is_away_is_counted_and_said_once(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    redis = start_redis()
    async with open_queue(redis.url) as queue:
        redis.kill()
        assert [await queue.enqueue("gen_1", 0) for _ in range(3)] == [False] * 3
        assert queue.failures == 3
        redis.restart(keep_data=False)
        assert await queue.enqueue("gen_1", 0)
    assert caplog.text.count("waiting") == caplog.text.count("going on") == 1


async def test_a_frozen_redis_is_given_up_in_bounded_time(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    async with open_queue(redis.url) as queue:
        assert await queue.enqueue("gen_1", 0)
        redis.freeze()
        assert not await queue.enqueue("gen_2", 0)
        redis.thaw()
        await eventually(lambda: queue.enqueue("gen_2", 0))


@given(st.text(), st.integers(min_value=0, max_value=10**6))
def test_a_job_is_read_as_it_was_written(generation_id: str, attempt: int) -> None:
    job: dict[str, Any] = {"t": None, "f": "start", "a": (generation_id, attempt), "k": {}, "et": 1}
    assert deserialize(serialize(job)) == {**job, "a": [generation_id, attempt]}
