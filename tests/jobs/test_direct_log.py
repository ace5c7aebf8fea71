"""The publisher's way to the logs: few commands, whole answers, whatever the server forgot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ResponseError

from jobs import keys
from jobs.direct_log import DirectLog, open_direct_log
from jobs.stream_log import Append, Message
from tests.jobs.log_appends import APPLIED, GAP, STALE, TTL, append, frames, look, one, sent, told
from tests.jobs.log_rig import NAME, Rig, open_rig
from tests.services.tallies import commands


@asynccontextmanager
async def open_direct(url: str) -> AsyncIterator[tuple[Rig, DirectLog]]:
    """A rig, and a way to its logs."""
    async with open_rig(url) as rig:
        with open_direct_log(rig.stream_log.address) as direct:
            yield rig, direct


def goes_on(seq: int, attempt: int = 1, name: str = NAME) -> Append:
    """One frame more of a running log."""
    return Append(name, attempt, seq, frames(seq, seq, attempt), 0)


@pytest.mark.parametrize("logs", [2, 100])
async def test_logs_that_go_on_are_one_command_and_three_within_it(
    redis_url: str, logs: int
) -> None:
    names = [f"gen_{number}" for number in range(logs)]
    async with open_direct(redis_url) as (rig, direct):
        await sent(direct, [append(1, 1, name=name) for name in names])
        await sent(direct, [goes_on(2, name=name) for name in names])
        await commands(rig.redis)
        answers = await sent(direct, [goes_on(3, name=name) for name in names])
        assert await commands(rig.redis) == {
            "evalsha": 1,
            "xlen": logs,
            "xadd": logs,
            "publish": logs,
        }
        assert [(one.outcome, one.attempt, one.seq) for one in answers] == [(APPLIED, 1, 3)] * logs


async def test_looks_at_logs_are_one_command_and_one_within_it(redis_url: str) -> None:
    names = [f"gen_{number}" for number in range(100)]
    async with open_direct(redis_url) as (rig, direct):
        await sent(direct, [append(1, 3, name=name) for name in names])
        listener = await rig.listen(names[0])
        await commands(rig.redis)
        answers = await sent(direct, [Append(name, 1, 4, (), 0) for name in names])
        assert await commands(rig.redis) == {"evalsha": 1, "xlen": 100}
        assert [(one.outcome, one.attempt, one.seq) for one in answers] == [(APPLIED, 1, 3)] * 100
        await rig.redis.delete(keys.log(names[1]))
        answers = await sent(direct, [Append(name, 1, 4, (), 0) for name in names[:3]])
        assert [(one.attempt, one.seq) for one in answers] == [(1, 3), (0, 0), (1, 3)]
        assert listener.messages == []


async def test_a_frame_that_was_not_kept_is_appended_and_no_look(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await sent(direct, [append(1, 1)])
        await sent(direct, [Append(NAME, 1, 2, [b""], 0)])
        assert await rig.stored() == [*frames(1, 1), b""]


async def test_whatever_else_is_to_be_done_a_flush_is_two_commands(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await sent(direct, [append(1, 2, name=name) for name in ("gen_a", "gen_b", "gen_c")])
        await sent(direct, [goes_on(3, name="gen_a")])
        await commands(rig.redis)
        answers = await sent(
            direct,
            [
                goes_on(4, name="gen_a"),
                Append("gen_b", 1, 3, frames(3, 3), TTL, terminal=True),
                append(1, 1, name="gen_new"),
                goes_on(3, name="gen_c"),
                look(3, name="gen_a"),
            ],
        )
        assert (await commands(rig.redis))["evalsha"] == 2
        assert [(one.outcome, one.seq) for one in answers] == [
            (APPLIED, 4), (APPLIED, 3), (APPLIED, 1), (APPLIED, 3), (APPLIED, 4),
        ]  # fmt: skip
        for name, length in (("gen_a", 4), ("gen_b", 3), ("gen_c", 3), ("gen_new", 1)):
            assert await rig.stored(name) == frames(1, length)


async def test_what_does_not_go_on_is_left_alone_and_its_reason_asked_for(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        listener = await rig.listen()
        await one(rig, append(1, 5))
        await one(rig, append(1, 3, attempt=2, name="gen_newer"))
        await one(rig, append(1, 1, name="gen_good"))
        await told(rig, listener.messages)
        answers = await sent(
            direct,
            [
                goes_on(9),
                goes_on(4, name="gen_newer"),
                goes_on(2, name="gen_good"),
                goes_on(2, name="gen_lost"),
            ],
        )
        assert [(one.outcome, one.attempt, one.seq) for one in answers] == [
            (GAP, 1, 5), (STALE, 2, 3), (APPLIED, 1, 2), (GAP, 0, 0),
        ]  # fmt: skip
        assert await told(rig, listener.messages) == []
        assert await rig.stored() == frames(1, 5)
        assert not await rig.redis.exists(keys.log("gen_lost"))


async def test_a_log_that_was_put_back_to_the_attempt_before_takes_nothing(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await sent(direct, [append(1, 3)])
        [answer] = await sent(direct, [goes_on(4, attempt=2)])
        assert answer.outcome is GAP
        assert await rig.stored(NAME) == frames(1, 3)


async def test_the_scripts_are_sent_again_to_a_server_that_forgot_them(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        listener = await rig.listen()
        await sent(direct, [append(1, 1), append(1, 1, name="gen_b")])
        await told(rig, listener.messages)
        for seq in range(2, 6):
            await rig.redis.script_flush()
            if seq % 2:
                # One of the two scripts is there, and does its part once.
                await one(rig, append(1, 1, name="gen_other"))
            [moved, began] = await sent(direct, [goes_on(seq), append(seq, seq, name="gen_b")])
            assert (moved.outcome, moved.seq) == (APPLIED, seq)
            assert began.seq == seq
        assert await told(rig, listener.messages) == [
            Message(1, seq, seq, False, b"<1-%d>" % seq) for seq in range(2, 6)
        ]
        assert await rig.stored() == await rig.stored("gen_b") == frames(1, 5)


async def test_a_full_server_refuses_the_flush_and_tells_nobody(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        listener = await rig.listen()
        await sent(direct, [append(1, 2)])
        await told(rig, listener.messages)
        await rig.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(ResponseError, match="maxmemory"):
                await sent(direct, [goes_on(3)])
        finally:
            await rig.redis.config_set("maxmemory", 0)
        assert await told(rig, listener.messages) == []
        [answer] = await sent(direct, [goes_on(3)])
        assert answer.outcome is APPLIED
        assert await rig.stored() == frames(1, 3)
