"""An owner's open streams are counted for exactly as long as they are open."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from relay.errors import TooManyStreams
from relay.stream_slots import StreamSlots


class Endless(Response):
    """A response that starts, says so, and goes on until it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.started = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started.set()
        await anyio.sleep_forever()


async def nowhere(message: Message) -> None:
    """Sends nothing."""


async def nothing() -> Message:
    """Receives nothing."""
    await anyio.sleep_forever()
    raise AssertionError


def test_a_stream_beyond_the_limit_is_refused_and_a_reconnect_is_not() -> None:
    slots = StreamSlots(2)
    slots.acquire("alice")
    slots.acquire("alice")
    with pytest.raises(TooManyStreams):
        slots.acquire("alice")
    slots.acquire("alice", reconnect=True)
    slots.acquire("bob")
    assert slots.open_streams("alice") == 3


def test_feeds_are_counted_apart() -> None:
    slots = StreamSlots(1)
    slots.acquire("alice")
    slots.acquire("alice", kind="feed")
    with pytest.raises(TooManyStreams):
        slots.acquire("alice", kind="feed")


def test_no_limit_refuses_nothing() -> None:
    slots = StreamSlots(0)
    for _ in range(1000):
        slots.acquire("alice")


def test_a_slot_is_given_back_once() -> None:
    slots = StreamSlots(2)
    first, _ = slots.acquire("alice"), slots.acquire("alice")
    first.release()
    first.release()
    assert slots.open_streams("alice") == 1


def test_a_slot_whose_stream_could_not_be_made_is_given_back() -> None:
    slots = StreamSlots(1)
    with pytest.raises(LookupError), slots.acquire("alice"):
        raise LookupError
    assert slots.open_streams("alice") == 0


async def test_a_response_gives_its_slot_back_when_it_is_over() -> None:
    slots = StreamSlots(1)
    with slots.acquire("alice", "prt_a") as slot:
        response = slot.hold(Response(b"done"))
    assert slots.open_streams("alice") == 1
    await response({"type": "http"}, nothing, nowhere)
    assert slots.open_streams("alice") == 0
    assert slots.token_prefixes() == frozenset()


async def test_a_response_that_fails_gives_its_slot_back() -> None:
    async def broken(message: Message) -> None:
        raise ConnectionResetError

    slots = StreamSlots(1)
    response = slots.acquire("alice").hold(Response(b"done"))
    with pytest.raises(ConnectionResetError):
        await response({"type": "http"}, nothing, broken)
    assert slots.open_streams("alice") == 0


@pytest.mark.parametrize("prefix", [None, "prt_a"])
async def test_a_cancelled_response_gives_its_slot_back(prefix: str | None) -> None:
    slots = StreamSlots(1)
    stream = Endless()
    response = slots.acquire("alice", prefix).hold(stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(response, {"type": "http"}, nothing, nowhere)
        await stream.started.wait()
        tasks.cancel_scope.cancel()
    assert slots.open_streams("alice") == 0
    assert slots.token_prefixes() == frozenset()


async def test_a_token_ends_its_own_streams_and_no_others() -> None:
    slots = StreamSlots(5)
    streams = {prefix: [Endless(), Endless()] for prefix in ("prt_a", "prt_b")}
    async with anyio.create_task_group() as tasks:
        for prefix, pair in streams.items():
            for stream in pair:
                response = slots.acquire(prefix, prefix).hold(stream)
                tasks.start_soon(response, {"type": "http"}, nothing, nowhere)
                await stream.started.wait()
        assert slots.token_prefixes() == {"prt_a", "prt_b"}
        slots.end_streams("prt_a")
        while slots.open_streams("prt_a"):
            await anyio.lowlevel.checkpoint()
        assert slots.token_prefixes() == {"prt_b"}
        assert slots.open_streams("prt_b") == 2
        tasks.cancel_scope.cancel()
    assert slots.open_streams("prt_b") == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 9))))
def test_the_count_is_that_of_the_slots_that_are_held(
    steps: list[tuple[str, bool, int]],
) -> None:
    slots, held = StreamSlots(3), []
    for owner, takes, index in steps:
        if takes and slots.has_room(owner):
            held.append((owner, slots.acquire(owner)))
        elif held and not takes:
            held.pop(index % len(held))[1].release()
        for one in "ab":
            assert slots.open_streams(one) == sum(name == one for name, _ in held) <= 3
