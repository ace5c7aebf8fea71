"""Finds what was stored and does not run, and makes it run or end; any process may do it.

One small duty each, all of them harmless when two processes do them at once, since claims and
commits are fenced: overdue rows expire, waiting rows are promoted, rows that were never enqueued
are enqueued, and the generations of a lost worker are offered again or ended. What may wait, for
Redis or for a row that another holds, is done beside the rounds, which keep contact meanwhile.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from jobs.cancelling import end_tasks, raise_if_cancelled
from jobs.contact import Contact
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.generation import State
from jobs.ids import new_id
from jobs.lost_ends import LostEnds
from jobs.measures import Measures
from jobs.offers import LOST_SPREAD_SECONDS, Offers, spread
from jobs.outage import Outage
from jobs.queue import Queue
from jobs.rescue_counts import RescueCounts
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.store.breaker_notes import forget_breakers
from jobs.store.breakers import open_models
from jobs.store.claims import check_beats_can_be_stored, forget_workers
from jobs.store.commits import Committed
from jobs.store.expiring import expire_overdue
from jobs.store.leftovers import (
    NOTHING_LEFT,
    Leftovers,
    Lost,
    find_lost,
    find_unenqueued,
    look_for_leftovers,
    promote_waiting,
)
from jobs.store.workers import try_a_beat
from jobs.stream_log import StreamLog
from jobs.tracing import NO_TRACES, Traces

log = logging.getLogger(__name__)

Duty = Callable[[], Awaitable[None]]

ROUNDS_A_LEASE = 3
LONGEST_PAUSE_SECONDS = 1.0
"""With the spread and a poll of the queue, a reader hears of a lost worker within lease + 5 s."""
LONGEST_REST_SECONDS = 3.0
"""The same where nothing is left over. Who is lost is suspected before: see SUSPECT_SHARE."""
SUSPECT_SHARE = 0.5
"""Whoever is silent for so much of a lease may be about to look lost, or the database not to store
what it takes: tried from then on, since it would pass once more after a lease without a beat."""
ROWS_A_DUTY = 200
EXPIRING_SECONDS = 1.0
"""How long a round goes on with what is overdue: its other duties wait meanwhile."""
LOST_A_ROUND = 2_000
"""All that a large worker may run: none of its generations waits for others to be claimed."""
OFFERS_AT_ONCE = 100
"""In one call to Redis: the last of many is offered before the first ones are begun anew."""
FORGET_EVERY_SECONDS = 3600.0
COMPLAIN_EVERY_SECONDS = 60.0


@dataclass(slots=True)
class Rescuer:
    """Does its duties some times a lease until cancelled.

    Its claims are under an id of its own, which holds no lease: should it die between claim and
    commit, the next rescuer finds the generation lost at once.

    `endpoint` is where this process asks the model: what an open breaker keeps waiting there is
    not enqueued. A process that asks none leaves out what waits at any endpoint.
    """

    settings: Settings
    database: Database
    stream_log: StreamLog
    signals: Signals
    queue: Queue
    endpoint: str | None = None
    rescuer_id: str = field(default_factory=lambda: new_id("wrk"))
    counts: RescueCounts = field(default_factory=RescueCounts)
    measures: Measures = field(default_factory=Measures)
    traces: Traces = NO_TRACES
    _left: Leftovers = field(default_factory=Leftovers)
    _forget_at: float = 0.0
    _outage: Outage = field(default_factory=lambda: Outage("rescue can't read the database"))
    _outages: dict[str, Outage] = field(default_factory=dict)
    _beside: dict[asyncio.Task[None], str] = field(default_factory=dict)
    _contact: Contact = field(init=False)
    _enqueued: set[str] = field(default_factory=set)
    _enqueued_before: set[str] = field(default_factory=set)
    _enqueued_to: str | None = None
    _offers: Offers = field(default_factory=Offers)
    _complain_at: dict[str, float] = field(default_factory=dict)
    _ends: LostEnds = field(init=False)

    def __post_init__(self) -> None:
        self._contact = Contact(self.settings.relay_lease_seconds)
        self._ends = LostEnds(
            self.settings,
            self.database,
            self.stream_log,
            self.rescuer_id,
            self.counts,
            self.traces,
            self._announce,
        )

    async def run(self) -> None:
        """Rescues until cancelled; a duty that fails is logged and tried in the next round."""
        try:
            while True:
                await self._begin_round()
                raise_if_cancelled()
                await asyncio.sleep(self.pause * random.uniform(0.8, 1.2))
        finally:
            await end_tasks(self._beside)

    @property
    def pause(self) -> float:
        """How many seconds pass until the next round, give or take a fifth of them."""
        at_rest = self._left == NOTHING_LEFT
        longest = LONGEST_REST_SECONDS if at_rest else LONGEST_PAUSE_SECONDS
        return min(self.settings.relay_lease_seconds / ROUNDS_A_LEASE, longest)

    async def round(self) -> None:
        """Every duty once that there is work for, to its end; one that fails keeps no other from
        being done.
        """
        await self._begin_round()
        while self._beside:
            await asyncio.gather(*self._beside)

    async def _begin_round(self) -> None:
        """Asks the database, and begins what is found to be done."""
        self._left = Leftovers()
        asking = (self._check_contact, self._look, self._check_storing, self._rescue_lost)
        if await self._do(asking, self._outage):
            self._do_beside("overdue", self._expire)
            self._do_beside("others", self._promote, self._enqueue, self._forget)
        else:
            self._contact.lose()

    def _do_beside(self, name: str, *duties: Duty, again: bool = False) -> None:
        """Does these while rounds go on; not where earlier ones still are, unless `again`."""
        if again or name not in self._beside.values():
            outage = self._outages.setdefault(name, Outage(f"rescue is held up: {name}"))
            task = asyncio.create_task(self._do_all(duties, outage), name=f"rescue: {name}")
            self._beside[task] = name
            task.add_done_callback(self._beside.pop)

    async def _do_all(self, duties: Sequence[Duty], outage: Outage) -> None:
        await self._do(duties, outage)

    async def _do(self, duties: Sequence[Duty], outage: Outage) -> bool:
        """Does one after the other; False, and no more of them, once the database is away."""
        for duty in duties:
            try:
                await duty()
            except Unavailable as error:
                outage.lasts(error)
                return False
            except Exception:
                self._complain(_name_of(duty))
        outage.over()
        return True

    def _complain(self, duty: str) -> None:
        now = time.monotonic()
        self.counts.failures += 1
        if now >= self._complain_at.get(duty, 0.0):
            self._complain_at[duty] = now + COMPLAIN_EVERY_SECONDS
            log.exception("a rescuer's duty failed, and is tried again", extra={"duty": duty})

    async def _check_contact(self) -> None:
        # A read-only database shows everybody as silent, and can be read all the while.
        await check_beats_can_be_stored(self.database)
        self._contact.note()

    async def _look(self) -> None:
        # Mostly there is nothing: one statement a round then, and not one a duty.
        self._left = await look_for_leftovers(
            self.database,
            lease_seconds=SUSPECT_SHARE * self.settings.relay_lease_seconds,
            older_than_seconds=self._unenqueued_after,
            endpoint=self.endpoint,
        )
        self._contact.note()

    @property
    def _unenqueued_after(self) -> float:
        return min(2.0, self.settings.relay_lease_seconds)

    async def _expire(self) -> None:
        if not self._left.overdue:
            return
        unavailable = await open_models(self.database)
        until = time.monotonic() + EXPIRING_SECONDS
        while expired := await expire_overdue(
            self.database, limit=ROWS_A_DUTY, unavailable_models=unavailable
        ):
            self._count_expired(expired)
            # Beside it: a frozen Redis would let those wait that are overdue meanwhile.
            self._do_beside("tell", partial(self._tell, expired), again=True)
            if time.monotonic() >= until:
                return

    def _count_expired(self, expired: list[Committed]) -> None:
        for committed in expired:
            ended = committed.generation
            self.counts.expired += ended.state is State.EXPIRED
            self.counts.model_unavailable += ended.state is State.FAILED
            log.warning(
                "not started in time",
                extra={
                    "generation": ended.id,
                    "model": ended.model,
                    "code": "" if ended.error is None else ended.error.code,
                },
            )

    async def _tell(self, ended: list[Committed]) -> None:
        await asyncio.gather(*(self._announce(one) for one in ended))

    async def _promote(self) -> None:
        if not self._left.stuck:
            return
        for generation_id in await promote_waiting(self.database, limit=ROWS_A_DUTY):
            self.counts.promoted += 1
            await self.queue.enqueue(generation_id, 0)

    async def _enqueue(self) -> None:
        ids: list[str] = []
        if self._left.unenqueued:
            ids = await find_unenqueued(
                self.database,
                older_than_seconds=self._unenqueued_after,
                limit=ROWS_A_DUTY,
                endpoint=self.endpoint,
                after=self._enqueued_to,
            )
        offers = [(generation_id, 0, spread(len(ids))) for generation_id in ids]
        if ids and not await self.queue.enqueue_all(offers):
            return
        for generation_id in ids:
            if generation_id not in self._enqueued_before:
                self.counts.enqueued += generation_id not in self._enqueued
            self._enqueued.add(generation_id)
        # Else the oldest, of a kind that no worker knows perhaps, would keep all others waiting.
        self._enqueued_to = ids[-1] if len(ids) == ROWS_A_DUTY else None
        if self._enqueued_to is None:
            self._enqueued_before, self._enqueued = self._enqueued, set()

    async def _check_storing(self) -> None:
        # A full disk, or commits that hang, pass all that changes nothing, and no beat.
        if self._left.lost:
            lease = self.settings.relay_lease_seconds
            await try_a_beat(self.database, self.rescuer_id, within=lease)
            self._contact.note()

    async def _rescue_lost(self) -> None:
        if self._contact.judging_since() is None:
            return
        rows: list[Lost] = []
        if self._left.lost:
            rows = await find_lost(
                self.database,
                lease_seconds=self.settings.relay_lease_seconds,
                limit=LOST_A_ROUND,
                attempt_seconds=self.settings.relay_generation_timeout_seconds
                + self.settings.relay_queue_expires_seconds,
            )
            self._contact.note()
        judging_since = self._contact.judging_since()
        if judging_since is None:
            # The database stood still meanwhile, and nobody could beat.
            return
        self._offers.keep((row.id, row.attempt) for row in rows)
        to_end: list[Lost] = []
        offered: list[Lost] = []
        for row in rows:
            (to_end if self._is_at_its_end(row) else offered).append(row)
        self._ends.keep({row.id: self._to_end_since(row) for row in to_end}, judging_since)

        if offered:
            longest = LOST_SPREAD_SECONDS if len(rows) > 1 else 0.0
            self._do_beside("offer", partial(self._offer, offered, longest))
        if to_end:
            # The ends that a frozen Redis or a held row puts off keep no others from theirs.
            self._do_beside("end", partial(self._ends.end_all, to_end), again=True)

    def _to_end_since(self, row: Lost) -> float:
        """Since when it was to be ended: lost, or offered in vain until just now."""
        now = time.monotonic()
        was_offered = self._offers.since((row.id, row.attempt)) is not None
        return now if was_offered or row.lost_ms is None else now - row.lost_ms / 1000

    def _is_at_its_end(self, row: Lost) -> bool:
        lost = row.lost_attempts + (0 if row.handed_over else 1)
        # One that was handed over and may not begin anew had told its readers nothing.
        may_run = row.restartable or row.handed_over
        late = row.late or self._waited_long(row)
        no_more = lost >= self.settings.relay_max_attempts or not may_run
        return row.cancel_requested or late or no_more

    def _waited_long(self, row: Lost) -> bool:
        """Whether it was offered for as long as a queued one may wait: nobody is there for it."""
        since = self._offers.since((row.id, row.attempt))
        longest = self.settings.relay_queue_expires_seconds
        return since is not None and time.monotonic() - since > longest

    async def _offer(self, rows: list[Lost], longest_seconds: float) -> None:
        now = time.monotonic()
        due = [row for row in rows if self._offers.is_due((row.id, row.attempt), now)]
        for first in range(0, len(due), OFFERS_AT_ONCE):
            some = due[first : first + OFFERS_AT_ONCE]
            offers = [(row.id, row.attempt, spread(len(due), longest_seconds)) for row in some]
            if not await self.queue.enqueue_all(offers):
                return
            for row in some:
                if self._offers.note((row.id, row.attempt), now):
                    self._note_offer(row)

    def _note_offer(self, row: Lost) -> None:
        self.counts.offered_again += 1
        log.warning(
            "nobody runs it: offered again", extra={"generation": row.id, "attempt": row.attempt}
        )

    async def _announce(self, committed: Committed) -> None:
        self.measures.note_end(committed.generation)
        await self.signals.look(committed.generation.id)
        await self.signals.changed(committed.owner, committed.generation)
        if committed.promoted is not None:
            await self.queue.enqueue(committed.promoted, 0)

    async def _forget(self) -> None:
        if time.monotonic() >= self._forget_at:
            await forget_workers(self.database)
            await forget_breakers(self.database)
            self._forget_at = time.monotonic() + FORGET_EVERY_SECONDS


def _name_of(duty: Duty) -> str:
    called = duty.func if isinstance(duty, partial) else duty
    return called.__name__
