"""Which logs the publisher writes and keeps alive: from their start to end, fence or hand-over."""

import asyncio

import pytest

from jobs import flush_pause, keys
from jobs.events import Notice, token_text
from tests.jobs.log_rig import NAME, ended, open_rig, started
from tests.jobs.scripted_log import Scripted, over
from tests.services import eventually
from tests.services.tallies import commands


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every flush count as dear: the next one waits as long as flush_ms allows."""
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e-9)


async def test_an_ended_log_keeps_its_own_time_to_live_and_is_let_go(redis_url: str) -> None:
    async with open_rig(redis_url, ttl_seconds=7, lease_seconds=50) as rig:
        log = rig.start()
        log.append_text("x")
        assert await rig.publisher.drain(5)
        assert 299_000 < await rig.redis.pttl(keys.log(NAME)) <= 300_000
        log.append_terminal(ended(text="x"))
        assert await rig.publisher.drain(5)
        assert 6_000 < await rig.redis.pttl(keys.log(NAME)) <= 7_000
        await commands(rig.redis)
        rig.publisher.touch()
        assert await rig.publisher.drain(5)
        assert "evalsha" not in await commands(rig.redis)


async def test_touching_keeps_silent_and_busy_logs_alive(redis_url: str) -> None:
    async with open_rig(redis_url, ttl_seconds=100) as rig:
        silent, busy = rig.start("gen_silent"), rig.start("gen_busy")
        silent.append_text("x")
        busy.append_text("x")
        assert await rig.publisher.drain(5)
        for name in ("gen_silent", "gen_busy"):
            await rig.redis.pexpire(keys.log(name), 5_000)
        busy.append_text("y")
        rig.publisher.touch()
        busy.append_text("z")
        assert await rig.publisher.drain(5)
        for name in ("gen_silent", "gen_busy"):
            assert 99_000 < await rig.redis.pttl(keys.log(name)) <= 100_000


async def test_a_time_to_live_is_set_anew_when_a_sixth_of_it_is_over(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(redis_url, ttl_seconds=100) as rig:
        for number in range(20):
            rig.start(f"gen_{number}").append_text("x")
        rig.publisher.touch()
        assert await rig.publisher.drain(5)
        await commands(rig.redis)
        for _ in range(3):
            rig.publisher.touch()
            assert await rig.publisher.drain(5)
        looked = await commands(rig.redis)
        assert (looked["evalsha"], looked["xlen"]) == (3, 60)
        assert "pexpire" not in looked
        later = rig.publisher._loop.time() + 100 / 6
        monkeypatch.setattr(rig.publisher._loop, "time", lambda: later)
        rig.publisher.touch()
        monkeypatch.undo()
        assert await rig.publisher.drain(5)
        assert (await commands(rig.redis))["pexpire"] == 20


async def test_a_newer_attempt_fences_the_writer_once(redis_url: str) -> None:
    fenced: list[str] = []
    async with open_rig(redis_url) as rig, open_rig(redis_url) as other:
        log = started(rig.publisher, NAME, 1, lambda: fenced.append("fenced"))
        log.append_text("of the first attempt")
        assert await rig.publisher.drain(5)
        other.start(attempt=2).append_text("of the second")
        assert await other.publisher.drain(5)
        log.append_text("too late")
        log.append("notice", Notice("a", "b"))
        assert await rig.publisher.drain(5)
        assert fenced == ["fenced"]
        assert log.fenced
        log.append_text("and later")
        log.append_terminal(ended())
        rig.publisher.touch()
        assert await rig.publisher.drain(5)
        assert fenced == ["fenced"]
        assert rig.publisher.counts.stale == 1
        [one] = await rig.stored(attempt=2)
        assert token_text(one) == "of the second"


async def test_a_silent_writer_hears_of_the_fence_when_it_is_touched(redis_url: str) -> None:
    fenced = asyncio.Event()
    async with open_rig(redis_url) as rig, open_rig(redis_url) as other:
        started(rig.publisher, NAME, 1, fenced.set)
        other.start(attempt=2).append_text("x")
        assert await other.publisher.drain(5)
        rig.publisher.touch()
        async with asyncio.timeout(5):
            await fenced.wait()


async def test_an_abandoned_log_is_not_written_any_more() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted)
    log = started(link, NAME)
    log.append_text("under way")
    await scripted.called(1)
    log.append_text("not sent yet")
    link.abandon(log)
    scripted.gate.set()
    assert await link.drain(1)
    log.append_text("later")
    link.touch()
    assert await link.drain(1)
    assert len(scripted.calls) == 1
    link.stop()


async def test_a_log_that_is_abandoned_before_its_flush_began_asks_redis_nothing() -> None:
    scripted = Scripted()
    link = over(scripted)
    log = started(link, NAME)
    log.append_text("x")
    link.abandon(log)
    assert await link.drain(1)
    assert scripted.calls == []
    assert link.counts.flushes == 0
    started(link, "gen_next").append_text("y")
    assert await link.drain(1)
    assert len(scripted.calls) == 1
    link.stop()


@pytest.mark.usefixtures("slow")
async def test_abandoning_what_waited_for_a_timer_leaves_nothing_to_drain() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=60_000)
    log = started(link, NAME)
    log.append_text("x")
    assert await link.drain(1)
    log.append_text("waits")
    assert not await link.drain(0.01)
    link.abandon(log)
    assert await link.drain(1)
    link.stop()


async def test_a_new_attempt_of_the_same_worker_takes_over_from_its_old_log() -> None:
    scripted = Scripted()
    link = over(scripted)
    old = started(link, NAME)
    new = started(link, NAME, 2)
    old.append_text("old")
    new.append_text("new")
    link.abandon(old)
    assert await link.drain(1)
    assert [[one.attempt for one in call] for call in scripted.calls] == [[2]]
    link.stop()


async def test_draining_waits_for_what_was_appended_while_it_waits() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted)
    log = started(link, NAME)
    log.append_text("a")
    await scripted.called(1)
    assert not await link.drain(0.01)
    log.append_text("b")
    scripted.gate.set()
    assert await link.drain(1)
    assert not log.pending
    link.stop()


async def test_a_check_of_a_whole_log_tells_where_its_tail_is(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        log = rig.start()
        log.append_text("x")
        assert await rig.publisher.drain(5)
        rig.publisher.check(NAME)
        rig.publisher.check("gen_of_another_worker")
        await eventually(lambda: len(listener.messages) == 2)
        tail = listener.messages[-1]
        assert (tail.attempt, tail.first, tail.last, tail.frames) == (1, 2, 1, b"")


@pytest.mark.parametrize("flush_ms", [0, 60_000])
@pytest.mark.usefixtures("slow")
async def test_a_publisher_that_was_stopped_begins_no_flush(flush_ms: float) -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=flush_ms)
    log = started(link, NAME)
    log.append_text("x")
    assert await link.drain(1)
    log.append_text("too late")
    link.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(scripted.calls) == 1
    assert link._timer is None or link._timer.cancelled()
