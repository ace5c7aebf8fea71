"""The generations that this worker runs at once: started, stopped, handed over, never forgotten."""

import asyncio
import logging
import math
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from jobs.attempt_scope import attempt_scope
from jobs.cancelling import end_tasks
from jobs.errors import JobsError
from jobs.generate import Stop, Workshop, ask_ahead, generate
from jobs.generation import Generation, State, events_url, rfc3339
from jobs.measures import Measures
from jobs.provider import Asked
from jobs.queue import job_of
from jobs.store.breakers import BreakerOpen
from jobs.store.claims import Claimed, claim, hand_over, let_go
from jobs.tracing import NO_TRACES

log = logging.getLogger(__name__)

AFTER_GRACE_SECONDS = 5.0
"""How long what is under way after the grace may take to be handed over, committed, journalled."""

CLAIMS_FIRST_SECONDS = 2.0
"""How long what begins anew waits for others to be claimed, before it asks its model."""


class NoPlace(JobsError):
    """This worker runs as many generations as it may, or none any more."""


@dataclass(frozen=True, slots=True)
class Running:
    """One attempt under way."""

    claimed: Claimed
    stop: Stop
    task: asyncio.Task[None]
    asked: Asked | None = None
    """Its request, where that went out before its claim was stored."""


class Runner:
    """Runs claimed attempts, at most `RELAY_MAX_JOBS` at once."""

    def __init__(self, workshop: Workshop, worker_id: str) -> None:
        self._workshop = workshop
        self._worker_id = worker_id
        self._kinds = frozenset(workshop.kinds.names)
        self._running: dict[str, Running] = {}
        # For each beat, which at rest would cost ten times as much if it looked into all of them.
        self._attempts: dict[str, int] = {}
        self._claiming: Counter[str] = Counter()
        self._settled = asyncio.Event()
        self._settled.set()
        self._broken: set[str] = set()
        self._announcing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._leased_until = math.inf
        self.freed = asyncio.Event()
        """Set whenever a place became free."""

    @property
    def free(self) -> int:
        """How many more generations may start now; 0 while stopping, and without a lease."""
        if self._stopping or time.monotonic() >= self._leased_until:
            return 0
        taken = len(self._running) + self._claiming.total()
        return max(0, self._workshop.settings.relay_max_jobs - taken)

    @property
    def measures(self) -> Measures:
        """What this worker counts."""
        return self._workshop.ending.measures

    @property
    def running(self) -> dict[str, int]:
        """The generations under way, each with its attempt."""
        return self._attempts.copy()

    @property
    def left_to_others(self) -> list[str]:
        """The jobs that are not for this worker now: their model's breaker is open here."""
        return [job_of(one, 0) for one in self._workshop.breakers.left_to_others()]

    def leased(self, until: float) -> None:
        """Takes note that this worker's lease holds until then (monotonic).

        What is claimed without one, e.g. on waking up from a long freeze, is lost from the start.
        """
        lapsed = time.monotonic() >= self._leased_until
        self._leased_until = until
        if lapsed:
            self.freed.set()

    def knows(self, generation_id: str) -> bool:
        """Whether it runs here, or is being claimed."""
        return generation_id in self._running or self._claiming[generation_id] > 0

    async def start(self, generation_id: str, seen_attempt: int) -> bool:
        """Claims the attempt after `seen_attempt` and runs it in the background.

        False when there is nothing to claim: it runs elsewhere, ended, waits (in line, or for a
        model whose breaker is open) or is overdue. Raises NoPlace, KindUnknown, and Unavailable
        when the database is away: the rescuer offers it again then.
        """
        if not self.free:
            raise NoPlace
        if generation_id in self._running:
            return False
        try:
            claimed = await self._claim(generation_id, seen_attempt)
        except BreakerOpen as why:
            self._workshop.breakers.held_back(generation_id, why)
            return False
        if claimed is None:
            return False
        announcing = asyncio.create_task(self._announce_start(claimed))
        self._announcing.add(announcing)
        announcing.add_done_callback(self._announcing.discard)
        return True

    async def _claim(self, generation_id: str, seen_attempt: int) -> Claimed | None:
        self._claiming[generation_id] += 1
        self._settled.clear()
        asked: Asked | None = None
        begun: Running | None = None
        over = False

        def ahead(claimed: Claimed) -> None:
            nonlocal asked, begun
            # A database that is given up may tell of it after this has ended.
            if self._stopping or over:
                return
            asked = ask_ahead(self._workshop, claimed)
            # A span that was begun would tell of an attempt that may come to nothing.
            if asked is not None and self._workshop.traces is NO_TRACES:
                begun = self._begin(claimed, asked)

        claimed: Claimed | None = None
        try:
            claimed = await claim(
                self._workshop.ending.database,
                generation_id,
                seen_attempt,
                self._worker_id,
                lease_seconds=self._workshop.settings.relay_lease_seconds,
                endpoint=self._workshop.breakers.endpoint,
                probe_seconds=self._workshop.breakers.probe_seconds,
                kinds=self._kinds,
                ahead=ahead,
            )
            if claimed is not None:
                if begun is None:
                    self._run(self._begin(claimed, asked))
                    asked = None
                elif self._stopping or not _is_same(begun.claimed, claimed):
                    # What is to end at once must not read an answer first.
                    self._run(self._begin(claimed))
                else:
                    self._run(begun)
                    begun = asked = None
            return claimed
        finally:
            self._claiming[generation_id] -= 1
            self._claiming += Counter()
            if not self._claiming:
                self._settled.set()
            over = True
            if begun is not None:
                await _forget(begun)
            elif asked is not None:
                await asked.let_go()

    def _begin(self, claimed: Claimed, asked: Asked | None = None) -> Running:
        """Begins an attempt; one whose model was asked ahead waits to be confirmed."""
        stop = Stop()
        task = asyncio.create_task(self._attempt(claimed, stop, asked), name=claimed.id)
        return Running(claimed, stop, task, asked)

    def _run(self, one: Running) -> None:
        """Takes it as under way from now on."""
        if self._stopping:
            one.stop.request("handed_over")
        claimed = one.claimed
        self._running[claimed.id] = one
        self._attempts[claimed.id] = claimed.attempt
        one.task.add_done_callback(lambda done: self._ended(claimed, done))
        if one.asked is not None:
            one.asked.confirm()

    async def _attempt(self, claimed: Claimed, stop: Stop, asked: Asked | None) -> None:
        try:
            with attempt_scope(self._workshop.traces, claimed):
                await generate(self._workshop, claimed, stop, self._all_claimed, asked)
        finally:
            if asked is not None:
                await asked.let_go()

    async def _all_claimed(self) -> None:
        """Returns once nothing is being claimed, or after CLAIMS_FIRST_SECONDS."""
        # To ask a model costs more than a claim, of which readers of what was lost hear at once.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLAIMS_FIRST_SECONDS):
                await self._settled.wait()

    def cancel(self, generation_id: str) -> None:
        """Stops a running generation since its cancellation was requested in the row."""
        if one := self._running.get(generation_id):
            one.stop.request("cancelled")

    def fence(self, generation_id: str, attempt: int) -> None:
        """Stops an attempt that the database says is no longer this worker's."""
        one = self._running.get(generation_id)
        if one is not None and one.claimed.attempt == attempt:
            one.stop.request("fenced")

    async def hand_over(self, generation_id: str, attempt: int) -> None:
        """Gives back what this worker holds and does not run; what broke off here is lost by it.

        Raises Unavailable.
        """
        ending = self._workshop.ending
        if generation_id in self._broken:
            # Not handed over, which would cost no attempt and so could go on for ever.
            await let_go(ending.database, generation_id, attempt)
            self._broken.discard(generation_id)
            return
        # Not so if it ended while the beat that named it was under way.
        if await hand_over(ending.database, generation_id, attempt):
            log.warning(
                "held but not run here: handed over",
                extra={"generation": generation_id, "attempt": attempt},
            )
            await ending.queue.enqueue(generation_id, attempt)

    async def let_end(self, grace_seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Starts nothing more, and lets running ones finish within the grace.

        Once `hurry` is set, the grace is over.
        """
        self._stopping = True
        if tasks := self._tasks():
            log.info("stopping", extra={"running": len(tasks), "grace_seconds": grace_seconds})
            await _ended_or_hurried(tasks, grace_seconds, hurry or asyncio.Event())

    async def stop(self) -> None:
        """Hands over what still runs, and is done with it within AFTER_GRACE_SECONDS.

        What has come to its outcome by then is committed or in the journal. A database that may not
        answer is to be given up before, or it is waited for all the same.
        """
        self._stopping = True
        for one in self._running.values():
            one.stop.request("handed_over")
        try:
            async with asyncio.timeout(AFTER_GRACE_SECONDS):
                # A claim under way is not forgotten: what it brings is handed over at once.
                await self._settled.wait()
                if tasks := self._tasks():
                    await asyncio.wait(tasks)
        except TimeoutError:
            log.warning("stopped with work under way", extra={"running": len(self._running)})
        await end_tasks(self._tasks() | self._announcing)

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {one.task for one in self._running.values()}

    def _ended(self, claimed: Claimed, task: asyncio.Task[None]) -> None:
        del self._running[claimed.id], self._attempts[claimed.id]
        self.freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.add(claimed.id)
            log.error("an attempt broke off", exc_info=error, extra={"generation": claimed.id})

    async def _announce_start(self, claimed: Claimed) -> None:
        # In this turn of the loop the attempt asks its model, for whose words readers wait.
        await asyncio.sleep(0)
        await self._workshop.ending.signals.changed(claimed.owner, started(claimed))


def _is_same(told: Claimed, stored: Claimed) -> bool:
    """Whether what is stored is what was told ahead; at a second try it began a little later."""
    return msgspec.structs.replace(told, started_at=stored.started_at) == stored


async def _forget(begun: Running) -> None:
    """Ends what was begun for a claim that came to nothing, or to something else."""
    await end_tasks([begun.task])
    if not begun.task.cancelled() and (error := begun.task.exception()) is not None:
        log.error("preparing an attempt failed", exc_info=error)


async def _ended_or_hurried(
    tasks: set[asyncio.Task[None]], seconds: float, hurry: asyncio.Event
) -> None:
    async def all_ended() -> None:
        await asyncio.wait(tasks)

    async def hurried() -> None:
        await hurry.wait()

    waiting = {asyncio.create_task(all_ended()), asyncio.create_task(hurried())}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(waiting)


def started(claimed: Claimed) -> Generation:
    """The resource of a generation that was just claimed, without reading it again."""
    return Generation(
        id=claimed.id,
        kind=claimed.kind,
        state=State.RUNNING,
        attempt=claimed.attempt,
        model=claimed.model,
        conversation_id=claimed.conversation_id,
        persona_id=claimed.persona_id,
        input=claimed.input,
        output=None,
        usage=None,
        error=None,
        created_at=rfc3339(claimed.created_at),
        started_at=rfc3339(claimed.started_at),
        finished_at=None,
        expires_at=rfc3339(claimed.expires_at),
        events_url=events_url(claimed.id),
    )
