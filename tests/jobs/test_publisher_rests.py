"""How long a quick log's pieces wait for company, by a clock that no slow machine moves."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs import publisher
from jobs.attempt_log import AttemptLog
from jobs.events import FileDelta, Notice
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
    monkeypatch.setattr(publisher, "SHARE_OF_A_CORE", 1e9)


async def quick(link: publisher.Publisher, scripted: Scripted, name: str) -> AttemptLog:
    """A log of a model that writes a piece in 140 ms, as it is about to write its third."""
    log = started(link, name)
    for text in ("a", "b"):
        log.append_text(text)
        await asyncio.sleep(0.14)
    assert len(scripted.calls) == 2
    return log


async def test_of_a_quick_log_that_is_alone_every_other_entry_has_two_pieces() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await quick(link, scripted, NAME)
    for _ in range(7):
        log.append_text("c")
        await asyncio.sleep(0.14)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at)]
    assert gaps == pytest.approx([0.14, 0.28, 0.14, 0.28, 0.14, 0.34], abs=0.001)
    assert all(len(one.frames) == 1 for [one] in scripted.calls)
    link.stop()


async def test_a_piece_of_a_quick_log_waits_for_company_until_its_rest_is_over() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await quick(link, scripted, NAME)
    log.append_text("c")
    assert await link.drain(2)
    # Half of the longest pause after the next piece was to come.
    assert scripted.at[2] - scripted.at[1] == pytest.approx(0.14 + 0.2, abs=0.001)
    link.stop()


async def test_a_second_piece_that_comes_during_a_flush_leaves_after_the_shortest_pause() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await quick(link, scripted, NAME)
    log.append_text("c")
    other = started(link, "gen_other")
    scripted.gate.clear()
    other.append_text("x")
    await scripted.called(3)
    assert [one.generation_id for one in scripted.calls[2]] == [NAME, "gen_other"]
    log.append_text("d")
    log.append_text("e")
    scripted.gate.set()
    await scripted.called(4)
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_a_piece_of_a_quick_log_waits_for_none_where_others_leave_with_it() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    logs = [started(link, f"gen_{n}") for n in range(2)]
    for _ in range(5):
        for log in logs:
            log.append_text("a")
        await asyncio.sleep(0.14)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at)]
    assert gaps == pytest.approx([0.14] * 4, abs=0.001)
    link.stop()


async def test_beside_a_silent_log_a_quick_one_is_alone() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    started(link, "gen_silent").append_text("x")
    await asyncio.sleep(1)
    log = started(link, NAME)
    for _ in range(4):
        log.append_text("a")
        await asyncio.sleep(0.14)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at[1:])]
    assert gaps == pytest.approx([0.14, 0.28], abs=0.001)
    link.stop()


async def test_beside_a_fast_log_that_rests_a_quick_one_is_alone() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    await made_fast(link, scripted, "gen_fast")
    other = started(link, "gen_other")
    for _ in range(3):
        other.append_text("x")
        await asyncio.sleep(0.14)
    assert await link.drain(2)
    assert [one.generation_id for [one] in scripted.calls[2:4]] == ["gen_other"] * 2
    # The third waited, and left with what the fast one had by then.
    assert {one.generation_id for one in scripted.calls[4]} == {"gen_fast", "gen_other"}
    assert scripted.at[4] - scripted.at[1] == pytest.approx(0.4, abs=0.001)
    link.stop()


async def test_pieces_of_a_file_keep_each_other_company_too() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    for number in range(7):
        log.append_file_delta(FileDelta("a.md", number, "x"))
        await asyncio.sleep(0.14)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at)]
    assert gaps == pytest.approx([0.14, 0.28, 0.14, 0.28], abs=0.001)
    link.stop()


async def test_a_quick_log_that_was_lost_is_seeded_after_the_shortest_pause() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    log.append_text("a")
    await asyncio.sleep(0.14)
    scripted.forget()
    log.append_text("b")
    assert await link.drain(2)
    assert link.counts.reseeds == 1
    assert scripted.at[2] - scripted.at[1] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_where_a_log_ends_is_told_without_waiting_for_company() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await quick(link, scripted, NAME)
    log.append_text("c")
    link.check(NAME)
    await scripted.called(4)
    # What waited leaves first, then it is told.
    assert [one.announce for [one] in scripted.calls[2:]] == [False, True]
    assert scripted.at[3] - scripted.at[2] == pytest.approx(0.1, abs=0.001)
    link.stop()


async def test_what_failed_is_sent_again_without_waiting_for_company() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=1000)
    log = started(link, NAME)
    log.append_text("a")
    await asyncio.sleep(0.4)
    scripted.error = RedisConnectionError("away")
    log.append_text("b")
    await scripted.called(2)
    scripted.error = None
    assert await link.drain(2)
    assert scripted.at[2] - scripted.at[1] <= publisher.BACKOFF_FIRST_SECONDS + 0.001
    link.stop()


async def test_what_waits_for_company_leaves_with_whatever_leaves() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    for text, seconds in (("a", 0.14), ("b", 0.12), ("c", 0)):
        log.append_text(text)
        await asyncio.sleep(seconds)
    started(link, "gen_other").append_text("x")
    # Though its rest is not over for longer than half of the longest pause.
    assert log.rests_until - asyncio.get_running_loop().time() > 0.2
    await scripted.called(3)
    assert {one.generation_id for one in scripted.calls[2]} == {NAME, "gen_other"}
    link.stop()


async def test_a_look_at_a_log_is_none_of_its_entries() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    log.append_text("a")
    await asyncio.sleep(0.5)
    link.touch()
    await asyncio.sleep(0.12)
    assert [len(one.frames) for [one] in scripted.calls[1:]] == [0]
    for text in "bc":
        log.append_text(text)
        await asyncio.sleep(0.12)
    assert len(scripted.calls) == 4
    link.stop()


async def test_what_is_urgent_waits_for_no_company() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await quick(link, scripted, NAME)
    log.append_text("c")
    log.append("notice", Notice("demo", "now"))
    await scripted.called(3)
    assert scripted.at[2] - scripted.at[1] == pytest.approx(0.14, abs=0.001)
    link.stop()
