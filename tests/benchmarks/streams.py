"""What a delivered token costs, from ten streams to two thousand, at the same rate in all.

A shared machine is not as fast in one minute as in the next: each number has its turn in several
rounds, and its cost is the median of them.
"""

import asyncio
import statistics
from collections.abc import Iterator, Sequence

from tests.benchmarks.system import System, chat, reading, system
from tests.services import eventually

STREAMS = (10, 100, 500, 1000, 2000)
TOKENS_A_SECOND = 2000
SECONDS = 6.0
ROUNDS = 5
WITHIN = 90.0

Cost = dict[str, float]
"""Microseconds of processor time a token, by process."""


async def cost(running: System, streams: int) -> Cost:
    """The cost while so many streams are all under way."""
    rate = TOKENS_A_SECOND / streams
    model = f"steady-{int(rate * 600)}-{rate}"
    async with reading(running, [chat(model)] * streams) as readers:
        await eventually(lambda: all(one.tokens for one in readers), within=WITHIN, every=0.1)
        await asyncio.sleep(2)
        before, had = running.cpu(), sum(reader.tokens for reader in readers)
        await asyncio.sleep(SECONDS)
        after, have = running.cpu(), sum(reader.tokens for reader in readers)
        assert not any(reader.lost for reader in readers), "a stream was lost"
        return {name: (after[name] - before[name]) / (have - had) * 1e6 for name in after}


def sweep(numbers: Sequence[int] = STREAMS) -> Iterator[tuple[int, list[Cost]]]:
    """The costs of all rounds by number of streams, each measured on a system of its own."""
    costs: dict[int, list[Cost]] = {number: [] for number in numbers}
    for _ in range(ROUNDS):
        for streams in numbers:
            with system() as running:
                costs[streams].append(asyncio.run(cost(running, streams)))
    yield from costs.items()


def median(costs: Sequence[Cost]) -> Cost:
    """Of each process by itself."""
    return {name: statistics.median(one[name] for one in costs) for name in costs[0]}
