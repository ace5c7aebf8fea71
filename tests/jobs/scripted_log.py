"""A log in memory under a real publisher: held or failing at will, for what only timing shows."""

import asyncio
from collections.abc import Sequence

from jobs.attempt_log import AttemptLog
from jobs.direct_log import TakeAnswers
from jobs.publisher import Publisher
from jobs.stream_log import Append, Appended, Outcome
from tests.jobs.log_rig import started
from tests.services import eventually


class Scripted:
    """Keeps when it was asked for what; waits at the gate, and fails while it has an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.at: list[float] = []
        self.calls: list[list[Append]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._tails: dict[tuple[str, int], int] = {}

    def send(self, appends: Sequence[Append], take: TakeAnswers) -> None:
        """Takes everything that it is given, in order; answers later, as Redis does."""
        self.at.append(asyncio.get_running_loop().time())
        self.calls.append(list(appends))
        self._answering = asyncio.create_task(self._answer(appends, take))

    async def _answer(self, appends: Sequence[Append], take: TakeAnswers) -> None:
        await self.gate.wait()
        take(self.error or [self._append(one) for one in appends])

    def _append(self, one: Append) -> Appended:
        log = (one.generation_id, one.attempt)
        tail = self._tails.get(log, 0)
        if one.first > tail + 1:
            return Appended(Outcome.GAP, one.attempt if tail else 0, tail)
        last = one.first + len(one.frames) - 1 if one.frames else 0
        self._tails[log] = max(tail, last)
        return Appended(Outcome.APPLIED, one.attempt, self._tails[log])

    def forget(self) -> None:
        """Loses all logs."""
        self._tails.clear()

    async def called(self, times: int) -> None:
        """Returns once it was asked so often."""
        await eventually(lambda: len(self.calls) >= times)


def over(scripted: Scripted, flush_ms: float = 15) -> Publisher:
    """A publisher that writes to this log."""
    return Publisher(scripted, flush_ms=flush_ms, ttl_ms=1000, running_ttl_ms=60_000)


async def made_fast(link: Publisher, scripted: Scripted, name: str) -> AttemptLog:
    """A log whose second entry carried many pieces, and which waits for its third."""
    log = started(link, name)
    log.append_text("a")
    await scripted.called(1)
    for _ in range(5):
        log.append_text("b")
        await asyncio.sleep(0)
    await scripted.called(2)
    await asyncio.sleep(0)
    log.append_text("c")
    return log
