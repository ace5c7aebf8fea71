"""No token waits for a timer longer than `RELAY_FLUSH_MS`, however many there are, or dear."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs import flush_pause
from jobs.events import Notice
from jobs.publisher import LOGS_A_FLUSH, Publisher
from tests.jobs.leaping_loop import BACKEND
from tests.jobs.log_rig import NAME, started
from tests.jobs.scripted_log import Scripted, made_fast, over

LONGEST = 0.4


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run every test of this file on a loop that leaps."""
    return BACKEND


@pytest.fixture(autouse=True)
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every pause the longest, whatever a flush costs on this machine."""
    flushes_are(monkeypatch, dear=True)


@pytest.fixture
def scripted() -> Scripted:
    """The log in memory that the publisher writes to."""
    return Scripted()


@pytest.fixture
async def link(scripted: Scripted) -> AsyncIterator[Publisher]:
    """The publisher."""
    link = over(scripted, flush_ms=1000 * LONGEST)
    yield link
    link.stop()


def flushes_are(monkeypatch: pytest.MonkeyPatch, *, dear: bool) -> None:
    """What the flushes cost that end from now on."""
    monkeypatch.setattr(flush_pause, "SHARE_OF_A_CORE", 1e-9 if dear else 1e9)


def now() -> float:
    """The time of the loop, which leaps."""
    return asyncio.get_running_loop().time()


def left_at(scripted: Scripted, name: str) -> list[float]:
    """When the entries of this log left."""
    return [
        at
        for at, call in zip(scripted.at, scripted.calls, strict=True)
        for one in call
        if one.generation_id == name and one.frames
    ]


async def said_once(link: Publisher, names: list[str]) -> list[Any]:
    """Logs that have said their first word some time ago."""
    logs = [started(link, name) for name in names]
    for log in logs:
        log.append_text("first")
    assert await link.drain(60)
    await asyncio.sleep(5)
    return logs


@pytest.mark.parametrize("count", [LOGS_A_FLUSH, 600, 2000])
async def test_first_tokens_wait_for_no_timer_however_many_come_at_once(
    scripted: Scripted, link: Publisher, count: int
) -> None:
    logs = [started(link, f"gen_{number}") for number in range(count)]
    began = now()
    for log in logs:
        log.append_text("first")
    assert await link.drain(60)
    assert len(scripted.calls) == -(-count // LOGS_A_FLUSH)
    assert max(scripted.at) - began < 0.01


@pytest.mark.parametrize("count", [LOGS_A_FLUSH, 600, 2000])
async def test_tokens_of_more_logs_than_a_flush_takes_wait_for_one_pause_together(
    scripted: Scripted, link: Publisher, count: int
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(count)])
    started(link, NAME).append_text("just before")
    before = len(scripted.calls)
    await scripted.called(before + 1)
    await asyncio.sleep(0.01)
    came = now()
    for log in logs:
        log.append_text("next")
    assert await link.drain(60)
    held = [at - came for at in scripted.at[before + 1 :]]
    assert len(held) == -(-count // LOGS_A_FLUSH)
    assert LONGEST - 0.02 < min(held) <= max(held) <= LONGEST


async def test_the_pause_comes_after_the_last_flush_of_many_from_the_begin_of_the_first(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(2 * LOGS_A_FLUSH)])
    for log in logs:
        log.append_text("second")
    before = len(scripted.calls)
    scripted.gate.clear()
    await scripted.called(before + 1)
    await asyncio.sleep(0.1)
    scripted.gate.set()
    await scripted.called(before + 2)
    logs[0].append_text("third")
    assert await link.drain(60)
    first, second, third = scripted.at[before:]
    assert second - first >= 0.1
    assert third - first == pytest.approx(LONGEST, abs=0.001)


async def test_a_flush_that_is_too_long_in_bytes_is_followed_by_the_next_at_once(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(10)])
    before = len(scripted.calls)
    began = now()
    for log in logs:
        log.append_text("x" * 200_000)
    assert await link.drain(60)
    assert len(scripted.calls) - before > 1
    assert max(scripted.at) - began < 0.01


async def test_what_fails_in_mid_round_is_not_sent_again_at_once(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(2 * LOGS_A_FLUSH)])
    before = len(scripted.calls)
    scripted.error = ConnectionError("away")
    for log in logs:
        log.append_text("second")
    await scripted.called(before + 1)
    await asyncio.sleep(0.01)
    assert len(scripted.calls) == before + 1
    scripted.error = None
    assert await link.drain(60)
    again = scripted.at[before + 1 :]
    assert again[0] - scripted.at[before] >= flush_pause.BACKOFF_FIRST_SECONDS / 2
    # Both parts ask at once where their logs stand, and not the second after a pause.
    assert len(scripted.calls[before + 2]) == LOGS_A_FLUSH
    assert again[1] - again[0] < 0.01


async def test_what_an_urgent_flush_can_not_take_leaves_with_it_before_the_pause_is_over(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(LOGS_A_FLUSH + 10)])
    logs[0].append_text("alone")
    before = len(scripted.calls)
    await scripted.called(before + 1)
    await asyncio.sleep(0.01)
    for log in logs:
        log.append_text("second")
    started(link, NAME).append_text("first, so urgent")
    assert await link.drain(60)
    assert len(scripted.calls) == before + 3
    assert scripted.at[-1] - scripted.at[before] < 0.02


async def test_fast_logs_that_one_flush_can_not_take_along_leave_with_the_next_at_once(
    scripted: Scripted, link: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes_are(monkeypatch, dear=False)
    names = [f"gen_{number}" for number in range(LOGS_A_FLUSH + 10)]
    logs = await said_once(link, names)
    for _ in range(2):
        for log in 5 * logs:
            log.append_text("fast")
        assert await link.drain(60)
    for log in logs:
        log.append_text("rests")
    await asyncio.sleep(0.6 * LONGEST)
    before = len(scripted.calls)
    logs[0].append("notice", Notice("fallback", "takes the others along"))
    assert await link.drain(60)
    assert len(scripted.calls) == before + 2
    assert scripted.at[-1] - scripted.at[before] < 0.01


async def test_logs_that_are_let_go_in_mid_round_leave_nothing_to_wait_for(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(2 * LOGS_A_FLUSH)])
    before = len(scripted.calls)
    scripted.gate.clear()
    for log in logs:
        log.append_text("second")
    await scripted.called(before + 1)
    for log in logs[LOGS_A_FLUSH:]:
        link.abandon(log)
    scripted.gate.set()
    assert await link.drain(60)
    assert len(scripted.calls) == before + 1
    # The next one begins a round of its own.
    logs[0].append_text("third")
    assert await link.drain(60)
    assert scripted.at[-1] - scripted.at[-2] == pytest.approx(LONGEST, abs=0.001)


async def test_a_fast_log_that_rests_waits_for_no_dear_flush_of_others(
    scripted: Scripted, link: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes_are(monkeypatch, dear=False)
    others = await said_once(link, [f"gen_{number}" for number in range(5)])
    scripted.calls.clear()
    scripted.at.clear()
    await made_fast(link, scripted, NAME)
    came = now()
    await asyncio.sleep(0.45 * LONGEST)
    flushes_are(monkeypatch, dear=True)
    for other in others:
        other.append_text("dear")
    assert await link.drain(60)
    assert left_at(scripted, others[0].generation_id)[-1] - came < 0.5 * LONGEST
    assert left_at(scripted, NAME)[-1] - came <= LONGEST


@pytest.mark.parametrize("dear_after", [0.0, 0.3, 0.74])
async def test_a_token_that_was_kept_back_waits_for_no_dear_flush_of_others(
    scripted: Scripted,
    link: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    dear_after: float,
) -> None:
    flushes_are(monkeypatch, dear=False)
    log, other = await said_once(link, [NAME, "gen_other"])
    log.append_text("alone")
    assert await link.drain(60)
    assert link.has_time()
    came = now()
    await asyncio.sleep(dear_after * LONGEST)
    flushes_are(monkeypatch, dear=True)
    other.append_text("dear")
    await asyncio.sleep(0.75 * LONGEST - (now() - came))
    log.append_text("kept back until now")
    assert await link.drain(60)
    assert left_at(scripted, NAME)[-1] - came <= LONGEST + 0.001
    assert not link.has_time()


async def test_what_is_urgent_in_mid_round_leaves_after_it_without_a_pause(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(LOGS_A_FLUSH + 1)])
    before = len(scripted.calls)
    scripted.gate.clear()
    for log in logs:
        log.append_text("second")
    await scripted.called(before + 1)
    came = now()
    started(link, NAME).append_text("first, so urgent")
    scripted.gate.set()
    assert await link.drain(60)
    assert [len(one) for one in scripted.calls[before:]] == [LOGS_A_FLUSH, 1, 1]
    assert left_at(scripted, NAME)[0] - came < 0.01


async def test_what_comes_in_mid_round_takes_no_place_of_those_that_were_let_go(
    scripted: Scripted, link: Publisher
) -> None:
    logs = await said_once(link, [f"gen_{number}" for number in range(3 * LOGS_A_FLUSH)])
    kept, let_go = logs[: LOGS_A_FLUSH + 10], logs[LOGS_A_FLUSH + 10 :]
    before = len(scripted.calls)
    scripted.gate.clear()
    for log in logs:
        log.append_text("second")
    await scripted.called(before + 1)
    for log in let_go:
        link.abandon(log)
    for log in kept[:10]:
        log.append_text("third, which came too late for this round")
    scripted.gate.set()
    assert await link.drain(60)
    assert [len(one) for one in scripted.calls[before:]] == [LOGS_A_FLUSH, 10, 10]
    assert scripted.at[-1] - scripted.at[before] == pytest.approx(LONGEST, abs=0.001)


async def test_each_of_several_that_keep_a_token_back_has_it_leave_in_time(
    scripted: Scripted, link: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes_are(monkeypatch, dear=False)
    log, other = await said_once(link, [NAME, "gen_other"])
    log.append_text("alone")
    assert await link.drain(60)
    came = now()
    assert link.has_time()
    await asyncio.sleep(0.7 * LONGEST)
    assert link.has_time()
    flushes_are(monkeypatch, dear=True)
    other.append_text("dear")
    await asyncio.sleep(0.05 * LONGEST)
    log.append_text("kept back until now")
    assert await link.drain(60)
    assert left_at(scripted, NAME)[-1] - came <= LONGEST


async def test_a_token_that_was_kept_back_does_not_rest_for_its_log_was_fast(
    scripted: Scripted, link: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes_are(monkeypatch, dear=False)
    [log] = await said_once(link, [NAME])
    log.append_text("alone")
    assert await link.drain(60)
    for _ in range(3):
        log.append_text("fast")
    await asyncio.sleep(0.05 * LONGEST)
    came = now()
    assert link.has_time()
    assert await link.drain(60)
    await asyncio.sleep(0.75 * LONGEST - (now() - came))
    log.append_text("kept back until now")
    assert await link.drain(60)
    assert left_at(scripted, NAME)[-1] - came <= LONGEST
