"""A Redis that fails, forgets, fills up or freezes costs a delay; no event changes or is lost."""

import asyncio
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs import keys, publisher
from jobs.events import Notice, token_text
from tests.jobs.log_rig import NAME, ended, open_rig, started
from tests.jobs.log_story import finished
from tests.jobs.scripted_log import Scripted, over
from tests.services import DelayingProxy, Direction, RedisServer, eventually

StartRedis = Callable[..., RedisServer]


async def test_a_lost_reply_doubles_nothing_and_keeps_nothing_back(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy, open_rig(proxy.url(redis_url)) as rig:
        listener = await rig.listen()
        log = rig.start()
        log.append_text("one")
        assert await rig.publisher.drain(5)
        trap = proxy.cut_after(b"XADD", Direction.UP)
        log.append_text("two")
        await trap.wait()
        # Appended between the lost reply and the look at where the log ends.
        log.append_text("three")
        assert await rig.publisher.drain(5)
        assert rig.publisher.counts.failures == 1
        assert rig.publisher.counts.reseeds == 0
        stored = await rig.stored()
        assert [token_text(one) for one in stored] == ["one", "two", "three"]
        await finished(rig, log)
        await eventually(lambda: bool(listener.messages) and listener.messages[-1].terminal)


async def test_an_answer_that_makes_no_sense_is_a_failure_like_others(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        with monkeypatch.context() as patch:
            patch.setattr("jobs.direct_log.read_answers", lambda replies: replies[7])
            log.append_text("one")
            await eventually(lambda: rig.publisher.counts.failures == 1)
        assert await rig.publisher.drain(5)
        log.append_text("two")
        assert await rig.publisher.drain(5)
        assert [token_text(one) for one in await rig.stored()] == ["one", "two"]


async def test_an_append_that_never_arrived_is_sent_again(redis_url: str) -> None:
    async with DelayingProxy.before(redis_url) as proxy, open_rig(proxy.url(redis_url)) as rig:
        log = rig.start()
        log.append_text("one")
        assert await rig.publisher.drain(5)
        trap = proxy.cut_before(b"XADD", Direction.UP)
        log.append_text("two")
        await trap.wait()
        assert await rig.publisher.drain(5)
        assert [token_text(one) for one in await rig.stored()] == ["one", "two"]
        assert rig.publisher.counts.reseeds == 0


async def test_while_redis_is_away_text_and_timeline_are_kept_and_frames_are_not(
    redis_url: str,
) -> None:
    async with DelayingProxy.before(redis_url) as proxy, open_rig(proxy.url(redis_url)) as rig:
        log = rig.start()
        log.append_text("before ")
        assert await rig.publisher.drain(5)
        proxy.refusing = True
        assert proxy.abort() > 0
        most = 0
        for round_ in range(60):
            for number in range(100):
                log.append_text("x" * 10)
                log.append("notice", Notice("n", f"{round_}.{number}"))
            # Until it has noticed; after that, at most what one pause brings is kept.
            await asyncio.sleep(0.01)
            most = max(most, len(log._frames))
        await eventually(lambda: rig.publisher.counts.failures > 3)
        await eventually(lambda: len(log._frames) == 0)
        assert log.seq > 12_000
        assert most < log.seq
        proxy.heal()
        await finished(rig, log)


async def test_the_end_of_a_generation_is_given_up_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "GIVE_UP_AFTER_SECONDS", 0.2)
    failing = Scripted(RedisConnectionError("away"))
    link = over(failing)
    over_, running = (started(link, name) for name in ("gen_over", "gen_running"))
    over_.append_text("x")
    running.append_text("x")
    over_.append_terminal(ended("gen_over"))
    await eventually(lambda: link.counts.given_up == 1)
    failing.error = None
    failing.calls.clear()
    assert await link.drain(5)
    told = {one.generation_id for call in failing.calls for one in call}
    assert told == {"gen_running"}
    assert not link._give_up_at
    link.stop()


async def test_a_full_redis_is_asked_less_and_less_often_and_gets_it_all_later(
    redis_url: str,
) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        log.append_text("before")
        assert await rig.publisher.drain(5)
        await rig.redis.config_set("maxmemory", 1)
        try:
            log.append_text("while full")
            await eventually(lambda: rig.publisher.counts.failures >= 5)
            assert rig.publisher._pause.backoff >= 0.5
            # Between two refusals it only looks once where the log ends.
            assert rig.publisher.counts.flushes <= 2 * rig.publisher.counts.failures + 3
        finally:
            await rig.redis.config_set("maxmemory", 0)
        assert await rig.publisher.drain(5)
        assert [token_text(one) for one in await rig.stored()] == ["before", "while full"]
        assert rig.publisher._pause.backoff == 0


async def test_an_error_that_nobody_expected_does_not_end_the_publishing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Scripted(RuntimeError("what is this"))
    link = over(failing)
    started(link, NAME).append_text("x")
    await eventually(lambda: link.counts.failures == 1)
    failing.error = None
    assert await link.drain(5)
    assert [one.levelname for one in caplog.records] == ["ERROR"]
    assert caplog.records[0].exc_info is not None
    link.stop()


async def test_a_listener_to_a_fence_that_fails_costs_the_other_logs_nothing(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("what is this")

    async with open_rig(redis_url) as rig, open_rig(redis_url) as newer:
        fenced = started(rig.publisher, "gen_fenced", 1, fails)
        log = rig.start()
        for one in (fenced, log):
            one.append_text("one")
        assert await rig.publisher.drain(5)
        newer.start("gen_fenced", attempt=2).append_text("newer")
        assert await newer.publisher.drain(5)
        # Behind the fenced one in the same flush, and lost by Redis meanwhile.
        await rig.redis.delete(keys.log(NAME))
        for one in (fenced, log):
            one.append_text("two")
        assert await rig.publisher.drain(5)
        assert rig.publisher.counts.failures == 1
        assert [token_text(one) for one in await rig.stored()] == ["one", "two"]
    assert "what is this" in caplog.text


async def test_a_frozen_redis_is_waited_for_and_what_it_does_late_does_no_harm(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    async with open_rig(server.url) as rig:
        log = rig.start()
        log.append_text("one ")
        assert await rig.publisher.drain(5)
        server.freeze()
        log.append_text("two ")
        # A call is bounded: nobody thaws the server.
        await eventually(lambda: rig.publisher.counts.failures >= 1, within=20)
        log.append_text("three ")
        server.thaw()
        stored = await finished(rig, log)
        assert token_text(stored[0]) == "one "
        assert rig.publisher.counts.reseeds == 0


async def test_how_far_redis_is_behind_is_told_in_events_and_seconds() -> None:
    away = Scripted(RedisConnectionError("away"))
    link = over(away)
    assert (link.lag().events, link.lag().seconds) == (0, 0.0)
    log = started(link, NAME)
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        log.append("notice", Notice("n", "n"))
    await away.called(3)
    behind = link.lag()
    waited = asyncio.get_running_loop().time() - began
    assert behind.events == 3
    assert 0.05 < behind.seconds <= waited
    away.error = None
    assert await link.drain(5)
    assert (link.lag().events, link.lag().seconds) == (0, 0.0)
    link.stop()
