"""How long what is appended waits for others, by a clock that no slow machine moves."""

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs import flush_pause
from jobs.events import Notice
from tests.jobs.leaping_loop import BACKEND
from tests.jobs.log_rig import NAME, started
from tests.jobs.scripted_log import Scripted, made_fast, over
from tests.services import eventually


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run every test of this file on a loop that leaps."""
    return BACKEND


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what a flush costs on this machine out of the pauses."""
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e9)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every flush count as dear: the next one waits as long as flush_ms allows."""
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e-9)


async def test_the_opening_leaves_with_the_first_words_of_a_fast_model() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=60_000)
    log = started(link, NAME)
    log.open()
    await asyncio.sleep(0)
    assert scripted.calls == []
    log.append_text("Hello")
    assert await link.drain(2)
    [[append]] = scripted.calls
    assert len(append.frames) == 2
    link.stop()


async def test_the_opening_is_not_looked_after_while_the_first_words_take_it_along() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted, flush_ms=5)
    log = started(link, NAME)
    log.open()
    log.append_text("Hello")
    await scripted.called(1)
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, later.set)
    await later.wait()
    scripted.gate.set()
    assert await link.drain(2)
    assert len(scripted.calls) == 1
    link.stop()


async def test_the_opening_of_a_silent_model_is_told_within_the_longest_pause() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=5)
    log = started(link, NAME)
    log.open()
    await scripted.called(1)
    [[append]] = scripted.calls
    assert [append.first, len(append.frames)] == [1, 1]
    assert await link.drain(2)
    # One that was told with something else, or let go, is not told once more.
    for number, let_go in ((2, False), (3, True)):
        other = started(link, f"gen_{number}")
        other.open()
        if let_go:
            link.abandon(other)
        else:
            other.append_text("x")
    await scripted.called(2)
    await asyncio.sleep(0.02)
    assert len(scripted.calls) == 2
    link.stop()


@pytest.mark.usefixtures("slow")
async def test_the_first_token_waits_for_no_timer() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=60_000)
    busy = started(link, "gen_busy")
    busy.append_text("x")
    await scripted.called(1)
    await eventually(lambda: not link._flushing)
    busy.append_text("waits")
    fresh = started(link, "gen_fresh")
    fresh.append_text("leaves")
    assert await link.drain(2)
    # What waited goes along.
    assert {one.generation_id for one in scripted.calls[1]} == {"gen_busy", "gen_fresh"}
    link.stop()


@pytest.mark.usefixtures("slow")
async def test_a_first_token_that_comes_while_a_flush_is_under_way_waits_for_no_timer() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted, flush_ms=60_000)
    busy = started(link, "gen_busy")
    busy.append_text("x")
    await scripted.called(1)
    started(link, "gen_fresh").append_text("first")
    scripted.gate.set()
    assert await link.drain(2)
    assert len(scripted.calls) == 2
    link.stop()


@pytest.mark.usefixtures("slow")
async def test_a_token_waits_for_the_timer_flush_ms_at_most_and_all_leave_together() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=100)
    log = started(link, NAME)
    for _ in range(4):
        log.append_text("a")
        await asyncio.sleep(0.01)
        log.append_text("b")
        await scripted.called(len(scripted.calls) + 1)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at)]
    assert gaps == pytest.approx([0.1] * 4, abs=0.001)
    link.stop()


@pytest.mark.parametrize("generations", [1, 2])
async def test_tokens_wait_for_one_another_for_a_quarter_of_the_longest_pause(
    generations: int,
) -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=800)
    logs = [started(link, f"gen_{n}") for n in range(generations)]
    for log in logs:
        log.append_text("a")
    await scripted.called(1)
    for _ in range(20):
        for log in logs:
            log.append_text("b")
        await asyncio.sleep(0)
    assert await link.drain(2)
    [gap] = [after - before for before, after in pairwise(scripted.at)]
    assert gap == pytest.approx(0.2, abs=0.001)
    assert [len(one.frames) for one in scripted.calls[1]] == [1] * generations
    link.stop()


async def test_a_fast_log_gets_an_entry_in_the_longest_pause_alone() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, NAME)
    log.append_text("d")
    assert await link.drain(2)
    first, second, third = scripted.at
    assert second - first == pytest.approx(0.1, abs=0.001)
    assert third - second == pytest.approx(0.4, abs=0.001)
    # It was none any more: two pieces in so long a time.
    log.append_text("e")
    assert await link.drain(2)
    assert scripted.at[3] - third == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_others_wait_for_no_fast_log_and_take_along_no_more_than_is_due_soon() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, "gen_fast")
    other = started(link, "gen_other")
    other.append_text("x")
    # The first text of all leaves at once.
    await scripted.called(3)
    await asyncio.sleep(0)
    other.append_text("y")
    await scripted.called(4)
    assert scripted.at[3] - scripted.at[2] <= 0.3
    assert [one.generation_id for one in scripted.calls[2]] == ["gen_other"]
    assert [one.generation_id for one in scripted.calls[3]] == ["gen_other"]
    await asyncio.sleep(0.15)
    started(link, "gen_fresh").append_text("z")
    await scripted.called(5)
    assert {one.generation_id for one in scripted.calls[4]} == {"gen_fast", "gen_fresh"}
    assert not log.pending
    assert scripted.at[4] - scripted.at[1] <= 0.39
    link.stop()


async def test_what_came_while_a_flush_was_under_way_waits_for_no_fast_log() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    await made_fast(link, scripted, "gen_fast")
    scripted.gate.clear()
    other = started(link, "gen_other")
    other.append_text("x")
    await scripted.called(3)
    other.append_text("y")
    scripted.gate.set()
    await scripted.called(4)
    assert [one.generation_id for one in scripted.calls[3]] == ["gen_other"]
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_what_is_urgent_waits_for_nothing_in_a_fast_log() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, NAME)
    log.append("notice", Notice("demo", "now"))
    await scripted.called(3)
    assert scripted.at[2] - scripted.at[1] < 0.1
    link.stop()


async def test_a_fast_log_that_is_abandoned_keeps_no_other_waiting() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, "gen_fast")
    link.abandon(log)
    other = started(link, "gen_other")
    other.append_text("x")
    await scripted.called(3)
    assert scripted.at[2] - scripted.at[1] < 0.1
    assert await link.drain(0.5)
    link.stop()


async def test_a_token_that_comes_after_the_pause_leaves_in_the_loops_next_round() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=40)
    log = started(link, NAME)
    log.append_text("a")
    assert await link.drain(2)
    await asyncio.sleep(0.02)
    log.append_text("b")
    assert link._timer is None
    assert link._soon is not None
    assert await link.drain(2)
    link.stop()


async def test_without_a_longest_wait_nothing_waits() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=0)
    log = started(link, NAME)
    for n in range(1, 30):
        log.append_text("a")
        await scripted.called(n)
    assert link._timer is None
    link.stop()


async def test_failures_are_followed_by_longer_and_longer_jittered_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jitter: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        jitter.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    failing = Scripted(RedisConnectionError("away"))
    link = over(failing)
    log = started(link, NAME)
    log.append_text("a")
    # Urgent things don't hammer a server that is away.
    while len(failing.at) < 7:
        log.append("notice", Notice("n", "n"))
        await asyncio.sleep(0.005)
    gaps = [after - before for before, after in pairwise(failing.at)]
    assert gaps == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0], abs=0.001)
    assert set(jitter) == {(0.5, 1.0)}
    failing.error = None
    assert await link.drain(5)
    assert link._pause.backoff == 0
    link.stop()
