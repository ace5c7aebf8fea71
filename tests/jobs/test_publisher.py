"""The publisher sends at once when idle and in batches under load, and knows when it is done."""

import asyncio
from itertools import groupby, pairwise

import pytest

from jobs import publisher
from jobs.attempt_log import AttemptLog
from jobs.events import FileDelta, Notice, Status, token_text
from jobs.generation import State
from tests.jobs.log_rig import NAME, Rig, ended, open_rig
from tests.jobs.scripted_log import Scripted, over
from tests.services import DelayingProxy, Direction, eventually
from tests.services.resp import conversation


async def commands(rig: Rig) -> dict[str, int]:
    """How often each command ran since the last time, scripts' own commands included."""
    stats = await rig.redis.info("commandstats")
    await rig.redis.config_resetstat()
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every flush count as dear: the next one waits as long as flush_ms allows."""
    monkeypatch.setattr(publisher, "SHARE_OF_A_CORE", 1e-9)


async def test_what_was_appended_is_in_the_log_and_told(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        log = rig.start()
        log.append("status", Status(State.RUNNING, 1))
        log.append_text("Hello")
        assert await rig.publisher.drain(5)
        log.append_text(" you")
        end = log.close()
        log.append_terminal(ended(text="Hello you"))
        assert await rig.publisher.drain(5)
        frames = await rig.stored()
        assert len(frames) == end.seq
        await eventually(lambda: listener.frames == b"".join(frames))
        assert listener.messages[-1].terminal
        assert not any(message.terminal for message in listener.messages[:-1])


async def test_the_opening_leaves_with_the_first_words_of_a_fast_model() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=60_000)
    log = link.start(NAME, 1, lambda: None)
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
    log = link.start(NAME, 1, lambda: None)
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
    log = link.start(NAME, 1, lambda: None)
    log.open()
    await scripted.called(1)
    [[append]] = scripted.calls
    assert [append.first, len(append.frames)] == [1, 1]
    assert await link.drain(2)
    # One that was told with something else, or let go, is not told once more.
    for number, let_go in ((2, False), (3, True)):
        other = link.start(f"gen_{number}", 1, lambda: None)
        other.open()
        if let_go:
            link.abandon(other)
        else:
            other.append_text("x")
    await scripted.called(2)
    await asyncio.sleep(0.02)
    assert len(scripted.calls) == 2
    link.stop()


async def test_tokens_of_one_read_leave_as_one_event(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        for _ in range(50):
            log.append_text("ab")
        assert await rig.publisher.drain(5)
        [one] = await rig.stored()
        assert token_text(one) == "ab" * 50


@pytest.mark.usefixtures("slow")
async def test_the_first_token_waits_for_no_timer() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=60_000)
    busy = link.start("gen_busy", 1, lambda: None)
    busy.append_text("x")
    await scripted.called(1)
    await eventually(lambda: not link._flushing)
    busy.append_text("waits")
    fresh = link.start("gen_fresh", 1, lambda: None)
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
    busy = link.start("gen_busy", 1, lambda: None)
    busy.append_text("x")
    await scripted.called(1)
    link.start("gen_fresh", 1, lambda: None).append_text("first")
    scripted.gate.set()
    assert await link.drain(2)
    assert len(scripted.calls) == 2
    link.stop()


@pytest.mark.usefixtures("slow")
async def test_a_token_waits_for_the_timer_flush_ms_at_most_and_all_leave_together() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=100)
    log = link.start(NAME, 1, lambda: None)
    for _ in range(4):
        log.append_text("a")
        await asyncio.sleep(0.01)
        log.append_text("b")
        await scripted.called(len(scripted.calls) + 1)
    assert await link.drain(2)
    gaps = [after - before for before, after in pairwise(scripted.at)]
    assert all(0.095 <= gap <= 1 for gap in gaps), gaps
    link.stop()


@pytest.mark.parametrize("generations", [1, 2])
async def test_tokens_wait_for_one_another_for_a_quarter_of_the_longest_pause(
    generations: int,
) -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=800)
    logs = [link.start(f"gen_{n}", 1, lambda: None) for n in range(generations)]
    for log in logs:
        log.append_text("a")
    await scripted.called(1)
    for _ in range(20):
        for log in logs:
            log.append_text("b")
        await asyncio.sleep(0)
    assert await link.drain(2)
    [gap] = [after - before for before, after in pairwise(scripted.at)]
    assert 0.19 <= gap <= 0.79
    assert [len(one.frames) for one in scripted.calls[1]] == [1] * generations
    link.stop()


async def made_fast(link: publisher.Publisher, scripted: Scripted, name: str) -> AttemptLog:
    """A log whose second entry carried many pieces, and which waits for its third."""
    log = link.start(name, 1, lambda: None)
    log.append_text("a")
    await scripted.called(1)
    for _ in range(5):
        log.append_text("b")
        await asyncio.sleep(0)
    await scripted.called(2)
    await asyncio.sleep(0)
    log.append_text("c")
    return log


async def test_a_fast_log_gets_an_entry_in_the_longest_pause_alone() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, NAME)
    log.append_text("d")
    assert await link.drain(2)
    first, second, third = scripted.at
    assert 0.09 <= second - first <= 0.3
    assert 0.39 <= third - second <= 1
    # It was none any more: two pieces in so long a time.
    log.append_text("e")
    assert await link.drain(2)
    assert 0.09 <= scripted.at[3] - third <= 0.3
    link.stop()


async def test_others_wait_for_no_fast_log_and_take_along_no_more_than_is_due_soon() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, "gen_fast")
    other = link.start("gen_other", 1, lambda: None)
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
    other.append_text("z")
    await scripted.called(5)
    assert {one.generation_id for one in scripted.calls[4]} == {"gen_fast", "gen_other"}
    assert not log.pending
    assert scripted.at[4] - scripted.at[1] <= 0.39
    link.stop()


async def test_what_is_urgent_waits_for_nothing_in_a_fast_log() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, NAME)
    log.append("notice", Notice("demo", "now"))
    await scripted.called(3)
    assert scripted.at[2] - scripted.at[1] <= 0.2
    link.stop()


async def test_a_fast_log_that_is_abandoned_keeps_no_other_waiting() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=400)
    log = await made_fast(link, scripted, "gen_fast")
    link.abandon(log)
    other = link.start("gen_other", 1, lambda: None)
    other.append_text("x")
    await scripted.called(3)
    assert scripted.at[2] - scripted.at[1] <= 0.2
    assert await link.drain(0.5)
    link.stop()


async def test_a_token_that_comes_after_the_pause_leaves_in_the_loops_next_round() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=40)
    log = link.start(NAME, 1, lambda: None)
    log.append_text("a")
    assert await link.drain(2)
    await asyncio.sleep(0.02)
    log.append_text("b")
    assert link._timer is None
    assert link._soon is not None
    assert await link.drain(2)
    link.stop()


async def test_a_redis_that_takes_its_time_makes_no_pause_longer() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted, flush_ms=400)
    log = link.start(NAME, 1, lambda: None)
    log.append_text("a")
    await scripted.called(1)
    await asyncio.sleep(0.2)
    scripted.gate.set()
    assert await link.drain(2)
    assert link._earliest - link._began < 0.2
    link.stop()


async def test_without_a_longest_wait_nothing_waits() -> None:
    scripted = Scripted()
    link = over(scripted, flush_ms=0)
    log = link.start(NAME, 1, lambda: None)
    for n in range(1, 30):
        log.append_text("a")
        await scripted.called(n)
    assert link._timer is None
    link.stop()


async def test_one_flush_is_in_flight_at_a_time(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url, up_ms=5, down_ms=5) as proxy,
        open_rig(proxy.url(redis_url), flush_ms=0) as rig,
    ):
        logs = [rig.start(f"gen_{n}") for n in range(20)]
        for _ in range(10):
            for log in logs:
                log.append_text("x")
                await asyncio.sleep(0.002)
        assert await rig.publisher.drain(5)
        said = conversation(proxy.passages)
        connection = {one.connection for one in said if one.name in (b"EVALSHA", b"EVAL")}
        assert len(connection) == 1, "appends have a connection of their own"
        ways = [one.direction for one in said if one.connection in connection]
        turns = [(way, len(list(run))) for way, run in groupby(ways)]
        assert len(turns) > 20
        asked, answered = turns[::2], turns[1::2]
        assert {way for way, _ in asked} == {Direction.UP}
        assert [count for _, count in asked] == [count for _, count in answered]
        assert proxy.counts.delayed > 0


@pytest.mark.parametrize("generations", [1, 40, publisher.LOGS_A_FLUSH])
async def test_a_flush_is_one_command_whatever_the_number_of_generations(
    redis_url: str, generations: int
) -> None:
    async with open_rig(redis_url) as rig:
        logs = [rig.start(f"gen_{n}") for n in range(generations)]
        logs[0].append_text("brings the script there")
        assert await rig.publisher.drain(5)
        await commands(rig)
        for log in logs:
            for _ in range(5):
                log.append_text("x")
            log.append("notice", Notice("a", "b"))
        assert await rig.publisher.drain(5)
        ran = await commands(rig)
        assert ran["evalsha"] == 1
        assert ran["xadd"] == 2 * generations, "one a frame"
        assert ran["publish"] == generations, "one a generation"
        assert ran.get("xrange", 0) == ran.get("eval", 0) == 0


async def test_a_token_of_a_running_log_costs_redis_three_commands(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        log.append_text("x")
        assert await rig.publisher.drain(5)
        await commands(rig)
        log.append_text("y")
        assert await rig.publisher.drain(5)
        ran = await commands(rig)
        ran = {name: calls for name, calls in ran.items() if not name.startswith(("config", "inf"))}
        assert ran == {"evalsha": 1, "xlen": 1, "xadd": 1, "publish": 1}


async def test_more_generations_than_a_flush_takes_all_get_their_turn(redis_url: str) -> None:
    count = 2 * publisher.LOGS_A_FLUSH + 10
    async with open_rig(redis_url) as rig:
        logs = [rig.start(f"gen_{n}") for n in range(count)]
        for log in logs:
            log.append_text("x")
        assert await rig.publisher.drain(5)
        assert rig.publisher.counts.flushes == 3
        for n in range(count):
            assert len(await rig.stored(f"gen_{n}")) == 1


async def test_a_flush_is_bounded_in_bytes_and_the_rest_follows(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        logs = [rig.start(f"gen_{n}") for n in range(8)]
        for log in logs:
            for _ in range(4):
                log.append("notice", Notice("big", "x" * 200_000))
        assert await rig.publisher.drain(10)
        assert rig.publisher.counts.flushes >= 6
        for n in range(8):
            assert len(await rig.stored(f"gen_{n}")) == 4


async def test_pieces_of_a_file_leave_batched(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        for n in range(100):
            log.append_file_delta(FileDelta("a.md", n, "x"))
        assert await rig.publisher.drain(5)
        assert len(await rig.stored()) == 1


async def test_a_log_writes_without_waiting_for_anything() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted)
    log = link.start(NAME, 1, lambda: None)
    now = asyncio.get_running_loop().time
    begun = now()
    for _ in range(20_000):
        log.append_text("x")
    assert now() - begun < 2
    scripted.gate.set()
    assert await link.drain(2)
    assert log.characters == 20_000
    link.stop()
