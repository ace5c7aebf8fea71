"""What a fast log's rest never delays, and when a piece may wait for another before it is read."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs import flush_pause
from tests.jobs.leaping_loop import BACKEND
from tests.jobs.log_rig import NAME, started
from tests.jobs.scripted_log import Scripted, made_fast, over


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run every test of this file on a loop that leaps."""
    return BACKEND


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what a flush costs on this machine out of the pauses."""
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e9)


async def test_a_fast_log_that_was_lost_is_seeded_after_the_shortest_pause() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, NAME)
    for _ in range(10):
        log.append_text("d")
    scripted.forget()
    assert await link.drain(2)
    assert link.counts.reseeds == 1
    assert scripted.at[2] - scripted.at[1] == pytest.approx(0.4, abs=0.001)
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_where_a_fast_log_ends_is_told_after_the_shortest_pause() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    await made_fast(link, scripted, NAME)
    link.check(NAME)
    await scripted.called(4)
    # What waited leaves first, then it is told.
    assert [one.announce for [one] in scripted.calls[2:]] == [False, True]
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_what_failed_is_sent_again_without_a_rest() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=4000)
    await made_fast(link, scripted, NAME)
    scripted.error = RedisConnectionError("away")
    link.check(NAME)
    await scripted.called(3)
    scripted.error = None
    assert await link.drain(9)
    assert scripted.at[3] - scripted.at[2] <= flush_pause.BACKOFF_FIRST_SECONDS + 0.001
    link.stop()


async def test_a_look_at_a_log_is_none_of_its_entries() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    log.append_text("a")
    await asyncio.sleep(0.5)
    link.touch()
    await asyncio.sleep(0)
    await scripted.called(2)
    for text in "bcd":
        log.append_text(text)
    await scripted.called(3)
    log.append_text("e")
    assert await link.drain(2)
    # Three since the look would be those of a fast log, three since its first entry are not.
    assert [len(one.frames) for [one] in scripted.calls] == [1, 0, 1, 1]
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_there_is_time_once_an_entry_has_left_alone() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    assert not link.has_time()
    logs = [started(link, f"gen_{number}") for number in range(2)]
    logs[0].append_text("a")
    assert await link.drain(2)
    assert link.has_time()
    for log in logs:
        log.append_text("b")
    assert await link.drain(2)
    assert len(scripted.calls[-1]) == 2
    assert not link.has_time()
    link.stop()


async def test_there_is_no_time_where_flushes_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e-9)
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    started(link, NAME).append_text("a")
    assert await link.drain(2)
    assert not link.has_time()
    link.stop()


async def test_there_is_no_time_while_redis_is_away() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    log.append_text("a")
    assert await link.drain(2)
    assert link.has_time()
    scripted.error = RedisConnectionError("away")
    log.append_text("b")
    await scripted.called(2)
    await asyncio.sleep(0)
    assert not link.has_time()
    link.stop()
