"""When a quick body is read two pieces at a time, and for how long the first of them waits."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.provider_pairs import PAIRS_IN_A_ROW, PIECE_BYTES, SHARE_TO_WAIT, InPairs
from tests.jobs.leaping_loop import BACKEND, LeapingLoop

LONGEST = 0.4
PACE = 0.14
"""Seconds a piece of a quick model, beside that."""
SIZE = 200


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run every test of this file on a loop that leaps."""
    return BACKEND


class Socket:
    """A kernel's buffer: pieces arrive in it, and are read once it holds what it was told."""

    def __init__(self, may_wait: Callable[[], bool]) -> None:
        self.least = 1
        self.reads: list[tuple[float, int, float]] = []
        """When, how many pieces, and how long the first of them had been there."""
        self._loop = asyncio.get_running_loop()
        self.pairs = InPairs(cast(socket.socket, self), LONGEST, self._loop.time)
        self._there: list[tuple[float, int]] = []
        self._may_wait = may_wait

    def fileno(self) -> int:
        """Open."""
        return 0

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Takes the least that is worth a waking."""
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        assert self.least != value
        self.least = value
        self._loop.call_soon(self._look)

    def arrive(self, size: int = SIZE) -> None:
        """A piece of this size comes."""
        self._there.append((self._loop.time(), size))
        self._look()

    def _look(self) -> None:
        size = sum(one for _, one in self._there)
        if size >= self.least:
            now = self._loop.time()
            self.reads.append((now, len(self._there), now - self._there[0][0]))
            self._there.clear()
            self.pairs.read(size, self._may_wait)


async def at_pace(sock: Socket, pieces: int, pace: float = PACE) -> list[int]:
    """How many pieces each read brought, of so many, one in `pace` seconds."""
    for _ in range(pieces):
        sock.arrive()
        await asyncio.sleep(pace)
    await asyncio.sleep(LONGEST)
    return [number for _, number, _ in sock.reads]


async def test_of_a_quick_body_three_pairs_and_a_single_piece_take_turns() -> None:
    sock = Socket(lambda: True)
    # How quick it is can be told with the second.
    assert await at_pace(sock, 2 + 7 + 7) == [1, 1, 2, 2, 2, 1, 2, 2, 2, 1]
    assert PAIRS_IN_A_ROW == 3
    assert sock.least == 1


@pytest.mark.parametrize("pace", [0.04, 0.151], ids=["fast", "slow"])
async def test_a_body_that_is_not_quick_is_read_as_it_comes(pace: float) -> None:
    sock = Socket(lambda: True)
    assert await at_pace(sock, 12, pace) == [1] * 12


async def test_one_that_is_just_quick_enough_still_comes_in_pairs() -> None:
    sock = Socket(lambda: True)
    assert await at_pace(sock, 9, 0.149) == [1, 1, 2, 2, 2, 1]


async def test_two_pieces_that_came_at_once_are_not_taken_for_one() -> None:
    sock = Socket(lambda: True)
    sock.arrive()
    await asyncio.sleep(PACE)
    sock.arrive(2 * SIZE)
    await asyncio.sleep(PACE)
    assert await at_pace(sock, 8) == [1, 1, 1, 2, 2, 2, 1]


async def test_where_the_second_never_comes_in_time_it_is_waited_for_less_and_less_often() -> None:
    sock = Socket(lambda: True)
    waits = 0
    for _ in range(300):
        sock.arrive()
        # As from a sender that holds it back until the one before was read.
        while sock.least > 1:
            waits += 1
            await asyncio.sleep(SHARE_TO_WAIT * LONGEST + 0.001)
        await asyncio.sleep(PACE)
    assert [number for _, number, _ in sock.reads] == [1] * 300
    assert waits == 9


async def test_a_wait_in_vain_is_soon_forgotten_once_another_was_not() -> None:
    sock = Socket(lambda: True)
    in_vain = 0
    for _ in range(8):
        numbers = await at_pace(sock, 12)
        assert 2 in numbers
        # The last piece of those that waited for another, which did not come any more.
        _, number, waited = sock.reads[-1]
        in_vain += number == 1 and waited > 0
        sock.reads.clear()
    assert in_vain >= 3


async def test_whoever_may_not_wait_reads_as_it_comes() -> None:
    sock = Socket(lambda: False)
    assert await at_pace(sock, 12) == [1] * 12


async def test_a_body_of_long_pieces_is_read_as_it_comes() -> None:
    sock = Socket(lambda: True)
    for _ in range(6):
        sock.arrive(PIECE_BYTES + 1)
        await asyncio.sleep(PACE)
    assert [number for _, number, _ in sock.reads] == [1] * 6


async def test_who_may_wait_no_longer_reads_the_next_piece_as_it_comes() -> None:
    willing = [True, False]
    sock = Socket(lambda: willing.pop(0) if willing else False)
    assert await at_pace(sock, 7) == [1, 1, 2, 1, 1, 1]


async def test_a_piece_whose_company_does_not_come_is_read_in_time() -> None:
    sock = Socket(lambda: True)
    for _ in range(3):
        sock.arrive()
        await asyncio.sleep(PACE)
    await asyncio.sleep(2 * LONGEST)
    before, last = sock.reads[-2:]
    assert last[0] - before[0] == pytest.approx(SHARE_TO_WAIT * LONGEST, abs=0.001)
    assert sock.least == 1


async def test_a_longer_piece_is_not_taken_for_two() -> None:
    sock = Socket(lambda: True)
    for size in (SIZE, SIZE, SIZE + SIZE // 2):
        sock.arrive(size)
        await asyncio.sleep(PACE)
    assert len(sock.reads) == 2
    sock.arrive(1)
    assert [number for _, number, _ in sock.reads] == [1, 1, 2]


async def test_once_it_stops_whatever_has_come_is_read_and_no_timer_is_left() -> None:
    sock = Socket(lambda: True)
    for _ in range(3):
        sock.arrive()
        await asyncio.sleep(PACE)
    assert len(sock.reads) == 2
    sock.pairs.stop()
    await asyncio.sleep(0)
    assert len(sock.reads) == 3
    assert sock.least == 1
    sock.pairs.stop()
    await asyncio.sleep(2 * LONGEST)
    assert sock.least == 1


@given(
    arrivals=st.lists(
        st.tuples(st.floats(0, 2 * LONGEST), st.integers(1, 2 * PIECE_BYTES), st.booleans()),
        max_size=40,
    )
)
def test_whatever_comes_waits_for_three_quarters_of_the_longest_wait_at_most(
    arrivals: list[tuple[float, int, bool]],
) -> None:
    async def feed() -> None:
        answers: list[bool] = []
        sock = Socket(lambda: answers[-1])
        for seconds, size, may_wait in arrivals:
            answers.append(may_wait)
            await asyncio.sleep(seconds)
            sock.arrive(size)
        await asyncio.sleep(LONGEST)
        assert sum(number for _, number, _ in sock.reads) == len(arrivals)
        assert all(waited <= SHARE_TO_WAIT * LONGEST + 0.001 for *_, waited in sock.reads)
        assert sock.least == 1

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(feed())
