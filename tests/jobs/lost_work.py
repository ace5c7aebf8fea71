"""Work that a worker left behind, and rescuers that a test leads by a clock of its own."""

from typing import Any

from jobs.attempt_log import AttemptLog
from jobs.events import Status
from jobs.generation import Generation, State
from jobs.store.claims import claim, register_worker
from jobs.stream_log import Append
from tests.jobs.at_work import Work

LEASE = 10.0


class Clock:
    """The rescuer's monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def abandoned(work: Work, said: str = "t1 t2", **details: Any) -> Generation:
    """A generation whose worker wrote this text and was lost."""
    generation = await work.store("Hello", **details)
    await register_worker(work.db, "wrk_lost", 1)
    assert await claim(work.db, generation.id, 0, "wrk_lost", lease_seconds=LEASE)
    await work.sql("UPDATE workers SET heartbeat_at = 0")
    if said:
        attempt_log = AttemptLog(generation.id, 1, lambda _log, _urgent: None)
        attempt_log.append("status", Status(State.RUNNING, 1))
        attempt_log.append_text(said)
        frames = attempt_log.unsent()
        await work.stream_log.append([Append(generation.id, 1, 1, frames, 60_000)])
    return generation


async def row_of(work: Work, one: Generation) -> tuple[str, int]:
    """Its state and attempt, by a hand in the database."""
    [row] = await work.sql("SELECT state, attempt FROM generations WHERE id = :id", id=one.id)
    return row[0], row[1]


async def judge(rescuer: Any, clock: Clock) -> None:
    """Rounds over a whole lease of contact, then the one that may judge."""
    for _ in range(4):
        await rescuer.round()
        clock.now += LEASE / 3
    await rescuer.round()
