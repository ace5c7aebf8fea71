"""One log that goes on in a transaction: only where that is safe, and all of it or nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import hiredis
import pytest
from redis.exceptions import ResponseError

from jobs import keys, own_tail
from jobs.direct_log import DirectLog, open_direct_log
from jobs.own_tail import OwnTails, took
from jobs.redis_wire import Address
from jobs.stream_log import Append, Message, Outcome
from tests.jobs.log_appends import APPLIED, GAP, STALE, THERE, append, frames, look, one, sent, told
from tests.jobs.log_rig import NAME, Rig, open_rig
from tests.services import DelayingProxy, RedisServer, eventually
from tests.services.tallies import commands

StartRedis = Callable[..., RedisServer]
SCRIPT = {"evalsha": 1}
TRANSACTION = {"multi": 1, "exec": 1}


@asynccontextmanager
async def open_direct(url: str) -> AsyncIterator[tuple[Rig, DirectLog]]:
    """A rig, and a way to its logs."""
    async with open_rig(url) as rig:
        with open_direct_log(rig.stream_log.address) as direct:
            yield rig, direct


def goes_on(seq: int, attempt: int = 1, name: str = NAME) -> Append:
    """One frame more of a running log."""
    return Append(name, attempt, seq, frames(seq, seq, attempt), 0)


async def ran(rig: Rig) -> dict[str, int]:
    """How often scripts and transactions ran since the last time."""
    seen = await commands(rig.redis)
    return {name: seen[name] for name in ("evalsha", "eval", "multi", "exec") if name in seen}


async def outcome(direct: DirectLog, wanted: Append) -> tuple[Outcome, int, int]:
    [answer] = await sent(direct, [wanted])
    return answer.outcome, answer.attempt, answer.seq


def transaction(seq: int) -> bytes:
    """What is sent for one frame more."""
    tails = OwnTails()
    tails.found(NAME, 1, seq - 1)
    packed = tails.transaction(goes_on(seq))
    assert packed is not None
    return packed


async def carried_out(url: str, sent: bytes) -> None:
    """Sends this over a connection that then ends; returns when nothing more comes of it."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(sent)
    writer.write_eof()
    await reader.read()
    writer.close()


async def test_what_it_does_is_what_the_script_does(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        listener = await rig.listen()
        await outcome(direct, append(1, 2))
        await told(rig, listener.messages)
        await ran(rig)
        assert await outcome(direct, goes_on(3)) == (APPLIED, 1, 3)
        assert await outcome(direct, goes_on(4)) == (APPLIED, 1, 4)
        assert await ran(rig) == {"multi": 2, "exec": 2}
        await one(rig, append(5, 5))
        assert await told(rig, listener.messages) == [
            Message(1, seq, seq, False, b"<1-%d>" % seq) for seq in (3, 4, 5)
        ]
        assert await rig.stored() == frames(1, 5)


async def test_whoever_finds_a_log_where_it_should_be_goes_on_without_a_script(
    redis_url: str,
) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await one(rig, append(1, 3))
        await ran(rig)
        assert await outcome(direct, goes_on(4)) == (APPLIED, 1, 4)
        assert await ran(rig) == SCRIPT
        assert await outcome(direct, goes_on(5)) == (APPLIED, 1, 5)
        assert await ran(rig) == TRANSACTION
        await outcome(direct, look(5))
        await ran(rig)
        assert await outcome(direct, goes_on(6)) == (APPLIED, 1, 6)
        assert await ran(rig) == TRANSACTION


async def test_logs_that_share_a_flush_share_a_script(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        for name in ("gen_a", "gen_b"):
            await outcome(direct, append(1, 2, name=name))
        await ran(rig)
        await sent(direct, [goes_on(3, name=name) for name in ("gen_a", "gen_b")])
        assert await ran(rig) == SCRIPT
        # It is not known to the transaction that the log went on.
        assert await outcome(direct, goes_on(4, name="gen_a")) == (APPLIED, 1, 4)
        assert await ran(rig) == SCRIPT
        assert await rig.stored("gen_a") == frames(1, 4)


async def test_over_another_connection_the_script_looks_first(redis_url: str) -> None:
    async with (
        DelayingProxy.before(redis_url) as proxy,
        open_rig(redis_url) as rig,
    ):
        with open_direct_log(Address.of_url(proxy.url(redis_url))) as direct:
            await outcome(direct, append(1, 2))
            await outcome(direct, goes_on(3))
            assert proxy.abort() == 1
            await eventually(lambda: not direct._calls.connected)
            # Meanwhile the server was put back to an earlier time.
            await rig.redis.delete(keys.log(NAME))
            await one(rig, append(1, 2))
            await ran(rig)
            assert await outcome(direct, goes_on(4)) == (GAP, 1, 2)
            assert await ran(rig) == {"evalsha": 2}
            assert await rig.stored() == frames(1, 2)


async def test_a_newer_attempt_fences_it(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await outcome(direct, append(1, 2))
        await one(rig, append(1, 1, attempt=2))
        await ran(rig)
        assert await outcome(direct, goes_on(3)) == (STALE, 2, 1)
        assert await ran(rig) == TRANSACTION | SCRIPT
        assert await rig.stored(attempt=2) == frames(1, 1, 2)
        # From then on it is the script's.
        assert await outcome(direct, goes_on(4)) == (STALE, 2, 1)
        assert await ran(rig) == {"evalsha": 2}


async def test_a_lost_log_is_not_begun_in_its_middle(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await outcome(direct, append(1, 2))
        await rig.redis.delete(keys.log(NAME))
        assert await outcome(direct, goes_on(3)) == (GAP, 0, 0)
        assert not await rig.redis.exists(keys.log(NAME))
        assert await outcome(direct, append(1, 3)) == (APPLIED, 1, 3)
        assert await outcome(direct, goes_on(4)) == (APPLIED, 1, 4)
        assert await rig.stored() == frames(1, 4)


async def test_not_for_a_moment_is_a_lost_log_begun_in_its_middle(redis_url: str) -> None:
    async with open_rig(redis_url) as rig:
        await carried_out(redis_url, transaction(3))
        assert not await rig.redis.exists(keys.log(NAME))


@pytest.mark.parametrize("left", [1, 4])
async def test_a_log_put_back_on_the_same_connection_is_dropped_and_asked_for_again(
    redis_url: str, left: int
) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await outcome(direct, append(1, 5))
        await rig.redis.delete(keys.log(NAME))
        await one(rig, append(1, left))
        assert await outcome(direct, goes_on(6)) == (GAP, 0, 0)
        assert not await rig.redis.exists(keys.log(NAME))


async def test_a_full_server_refuses_all_of_it_and_tells_nobody(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        listener = await rig.listen()
        await outcome(direct, append(1, 2))
        await outcome(direct, goes_on(3))
        await told(rig, listener.messages)
        await rig.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(ResponseError, match="maxmemory"):
                await outcome(direct, goes_on(4))
        finally:
            await rig.redis.config_set("maxmemory", 0)
        assert await told(rig, listener.messages) == []
        assert await outcome(direct, goes_on(4)) == (APPLIED, 1, 4)
        await ran(rig)
        assert await outcome(direct, goes_on(5)) == (APPLIED, 1, 5)
        assert await ran(rig) == TRANSACTION


@pytest.mark.parametrize("refused", [("-multi", "-exec"), ("-multi",), ("-exec",)])
async def test_where_transactions_are_refused_it_is_the_script_from_then_on(
    redis_url: str, refused: tuple[str, ...]
) -> None:
    async with open_rig(redis_url) as rig:
        await rig.redis.acl_setuser(
            "plain",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            channels=["*"],
            categories=["+@all"],
            commands=refused,
        )
        url = redis_url.replace("redis://", "redis://plain:secret@")
        try:
            with open_direct_log(Address.of_url(url)) as direct:
                await outcome(direct, append(1, 2))
                found, _, _ = await outcome(direct, goes_on(3))
                # Without MULTI its commands were carried out one by one, as the script finds.
                assert found is (THERE if "-multi" in refused else APPLIED)
                await ran(rig)
                for seq in (4, 5, 6):
                    assert await outcome(direct, goes_on(seq)) == (APPLIED, 1, seq)
                assert await ran(rig) == {"evalsha": 3}
                # Nor over another connection.
                direct._calls.reconnect()
                for seq in (7, 8):
                    assert await outcome(direct, goes_on(seq)) == (APPLIED, 1, seq)
                assert await ran(rig) == {"evalsha": 2}
        finally:
            await rig.redis.acl_deluser("plain")
        assert await rig.stored() == frames(1, 8)


async def test_a_transaction_that_can_not_be_ended_costs_its_connection(
    start_redis: StartRedis,
) -> None:
    server = start_redis(options=("--rename-command", "EXEC", ""))
    async with open_direct(server.url) as (rig, direct):
        await outcome(direct, append(1, 2))
        for seq in (3, 4, 5):
            assert await outcome(direct, goes_on(seq)) == (APPLIED, 1, seq)
        assert direct._calls.connections == 2
        assert await rig.stored() == frames(1, 5)


async def test_an_answer_that_can_not_be_read_is_a_failure_and_costs_its_connection(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await outcome(direct, append(1, 2))
        with monkeypatch.context() as patch:
            patch.setattr("jobs.direct_log.took", lambda append, replies: replies[7])
            with pytest.raises(IndexError):
                await outcome(direct, goes_on(3))
        assert not direct._calls.connected
        assert (await outcome(direct, append(3, 3)))[0] is THERE
        assert await outcome(direct, goes_on(4)) == (APPLIED, 1, 4)
        assert await rig.stored() == frames(1, 4)


async def test_a_look_is_the_scripts_wherever_the_log_is_known_to_end(redis_url: str) -> None:
    async with open_direct(redis_url) as (rig, direct):
        await outcome(direct, append(1, 2))
        await ran(rig)
        assert await outcome(direct, Append(NAME, 1, 3, (), 0)) == (APPLIED, 1, 2)
        assert await ran(rig) == SCRIPT


async def test_wherever_the_connection_is_cut_it_is_appended_and_told_or_neither(
    redis_url: str,
) -> None:
    packed = transaction(3)
    async with open_rig(redis_url) as rig:
        listener = await rig.listen()
        seen = set()
        for cut in range(1, len(packed) + 1):
            await one(rig, append(1, 2))
            await told(rig, listener.messages)
            await carried_out(redis_url, packed[:cut])
            messages = await told(rig, listener.messages)
            stored = await rig.stored()
            assert (len(stored), len(messages)) in ((2, 0), (3, 1)), cut
            seen.add(len(stored))
            await rig.redis.delete(keys.log(NAME))
        assert seen == {2, 3}


@pytest.mark.parametrize(
    "last",
    [
        None,
        [],
        [2],
        [2, None, 0],
        [1, b"1-3", 0],
        [3, b"1-3", 0],
        [2, b"1-3"],
        [2, b"1-3", hiredis.ReplyError("NOPERM no permission to access one of the channels")],
        b"OK",
        [2, hiredis.ReplyError("ERR The ID specified in XADD is equal or smaller"), 0],
        hiredis.ReplyError("EXECABORT Transaction discarded because of previous errors."),
    ],
)
def test_only_the_whole_answer_counts(last: object) -> None:
    replies = [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
    assert not took(goes_on(3), [*replies, last])
    assert took(goes_on(3), [*replies, [2, b"1-3", 0]])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_tail, "LOGS_REMEMBERED", 3)
    tails = OwnTails()
    for number in range(10):
        tails.found(f"gen_{number}", 1, 1)
        assert tails.transaction(goes_on(2, name=f"gen_{number}")) is not None
        assert len(tails._seqs) <= 3
    # What is remembered already makes no other forgotten.
    tails.found("gen_10", 1, 1)
    tails.found("gen_11", 1, 1)
    tails.found("gen_11", 1, 2)
    assert len(tails._seqs) == 3


def test_a_later_attempt_has_no_transaction() -> None:
    tails = OwnTails()
    tails.found(NAME, 1, 2)
    tails.found(NAME, 2, 2)
    assert tails.transaction(goes_on(3)) is None
