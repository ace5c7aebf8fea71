"""The publisher sends at once when idle and in batches under load, and knows when it is done."""

import asyncio
from itertools import groupby

import pytest

import jobs
from jobs import publisher
from jobs.events import FileDelta, Notice, Status, token_text
from jobs.generation import State
from tests.jobs.log_rig import NAME, ended, open_rig, started
from tests.jobs.scripted_log import Scripted, over
from tests.services import DelayingProxy, Direction, eventually
from tests.services.resp import conversation
from tests.services.tallies import commands, tasks_made_by


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


async def test_tokens_of_one_read_leave_as_one_event(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        for _ in range(50):
            log.append_text("ab")
        assert await rig.publisher.drain(5)
        [one] = await rig.stored()
        assert token_text(one) == "ab" * 50


async def test_a_redis_that_takes_its_time_makes_no_pause_longer() -> None:
    scripted = Scripted()
    scripted.gate.clear()
    link = over(scripted, flush_ms=400)
    log = started(link, NAME)
    log.append_text("a")
    await scripted.called(1)
    await asyncio.sleep(0.2)
    scripted.gate.set()
    assert await link.drain(2)
    assert link._pause.until - link._pause.began < 0.2
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
        for log in logs:
            log.append_text("begins")
        assert await rig.publisher.drain(5)
        await commands(rig.redis)
        for log in logs:
            for _ in range(5):
                log.append_text("x")
            log.append("notice", Notice("a", "b"))
        assert await rig.publisher.drain(5)
        assert await commands(rig.redis) == {
            "evalsha": 1,
            # One look at each, one entry a frame, and one message a generation.
            "xrevrange": generations,
            "xlen": generations,
            "xadd": 2 * generations,
            "publish": generations,
        }


async def test_a_token_of_a_running_log_costs_redis_three_commands_in_a_transaction(
    redis_url: str,
) -> None:
    async with open_rig(redis_url) as rig:
        log = rig.start()
        log.append_text("x")
        assert await rig.publisher.drain(5)
        await commands(rig.redis)
        log.append_text("y")
        assert await rig.publisher.drain(5)
        once = ("multi", "xlen", "xadd", "publish", "exec")
        assert await commands(rig.redis) == dict.fromkeys(once, 1)


@pytest.mark.parametrize("generations", [1, 40])
async def test_a_flush_is_callbacks_alone_and_makes_no_task(
    redis_url: str, generations: int
) -> None:
    async with open_rig(redis_url) as rig:
        logs = [rig.start(f"gen_{n}") for n in range(generations)]
        logs[0].append_text("opens the connection")
        assert await rig.publisher.drain(5)
        flushes = rig.publisher.counts.flushes
        with tasks_made_by(jobs) as made:
            for _ in range(10):
                for log in logs:
                    log.append_text("x")
                assert await rig.publisher.drain(5)
            for log in logs:
                log.close()
                log.append_terminal(ended(log.generation_id, text=log.text))
            assert await rig.publisher.drain(5)
        assert rig.publisher.counts.flushes >= flushes + 11
        assert made == []


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
    log = started(link, NAME)
    now = asyncio.get_running_loop().time
    begun = now()
    for _ in range(20_000):
        log.append_text("x")
    assert now() - begun < 2
    scripted.gate.set()
    assert await link.drain(2)
    assert log.characters == 20_000
    link.stop()
