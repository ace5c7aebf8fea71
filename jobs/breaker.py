"""What each attempt tells of the model's endpoint, for the shared circuit breakers (protocol §8).

The question is whether the endpoint answers, not whether an answer is good. Against it count: no
connection, 408, 409, 429 and 5xx in all tries, no first token in time. For it: any content, and
any refusal of one request (400, 401, 404, …), which waiting would not mend. A stream that was cut
off or fell silent after content, and an attempt that was stopped, say nothing more.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from jobs.database import Database
from jobs.errors import Unavailable
from jobs.provider_errors import ProviderFailed
from jobs.settings import Settings
from jobs.store.breaker_notes import (
    Opened,
    Place,
    Rule,
    fail_probe,
    note_answer,
    note_failure,
    release_probe,
)
from jobs.store.breakers import BreakerOpen, holder
from jobs.store.claims import Claimed

log = logging.getLogger(__name__)

RULE = Rule()
NOTE_SECONDS = 1.0
"""How long an end waits for its note to be stored; the note goes on by itself after that."""
PROBE_MARGIN_SECONDS = 5.0
REMEMBERED = 10_000
LEFT_SECONDS = 5.0
"""How long a worker leaves to others what it may not start: until others have offered it."""
LEFT_AT_ONCE = 100
DEFAULT_ENDPOINT = "https://api.openai.com/v1"


@dataclass(slots=True)
class BreakerCounts:
    """What this worker saw of breakers, for metrics and logs."""

    held_back: int = 0
    """Generations that were not started at first since their model's breaker was open."""
    probes: int = 0
    failures: int = 0
    """Attempts that counted against their endpoint."""
    opened: int = 0
    reopened: int = 0
    closed: int = 0
    notes_lost: int = 0
    """Outcomes that the database did not take."""


@dataclass(slots=True)
class Breakers:
    """The breakers before one endpoint, as one worker keeps them."""

    database: Database
    endpoint: str
    probe_seconds: float
    """How long one attempt may be the probe: until its first token is due, and a little more."""
    rule: Rule
    counts: BreakerCounts = field(default_factory=BreakerCounts)
    _notes: set[asyncio.Task[None]] = field(default_factory=set)
    _held_back: set[str] = field(default_factory=set)
    _left: dict[str, float] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, settings: Settings) -> AsyncIterator[Self]:
        """The breakers of the configured endpoint; what is being noted at the end is waited for."""
        breakers = cls(
            database,
            endpoint_of(settings),
            settings.relay_first_token_timeout_seconds + PROBE_MARGIN_SECONDS,
            RULE,
        )
        try:
            yield breakers
        finally:
            await breakers.settle(breakers._notes)

    def watch(self, claimed: Claimed) -> "Watch":
        """What will note the outcome of this attempt."""
        if claimed.probe:
            self.counts.probes += 1
            log.info(
                "trying whether the model answers again",
                extra={"generation": claimed.id, "model": claimed.model},
            )
        return Watch(self, claimed)

    def held_back(self, generation_id: str, why: BreakerOpen) -> None:
        """Leaves a queued generation to others for a while, and says once that it waits."""
        if len(self._left) < LEFT_AT_ONCE:
            # A probe is not put off by it.
            seconds = min(why.wait_seconds, LEFT_SECONDS)
            self._left[generation_id] = time.monotonic() + seconds
        if generation_id in self._held_back:
            return
        if len(self._held_back) >= REMEMBERED:
            self._held_back.clear()
        self._held_back.add(generation_id)
        self.counts.held_back += 1
        log.info(
            "not started: the breaker of its model is open",
            extra={
                "generation": generation_id,
                "model": why.model,
                "wait_seconds": round(why.wait_seconds, 1),
            },
        )

    def left_to_others(self) -> list[str]:
        """What was held back here just now, and is for workers at another endpoint."""
        now = time.monotonic()
        self._left = {one: until for one, until in self._left.items() if until > now}
        return list(self._left)

    async def failed(self, claimed: Claimed, failure: ProviderFailed) -> None:
        """Counts it against the endpoint; raises Unavailable."""
        self.counts.failures += 1
        place = Place(self.endpoint, claimed.model)
        jitter = random.uniform(0, self.rule.first_pause_seconds)
        opened: Opened | None
        if claimed.probe:
            probe = holder(claimed.id, claimed.attempt)
            opened = await fail_probe(self.database, place, probe, self.rule, jitter_seconds=jitter)
            self.counts.reopened += opened is not None
        else:
            opened = await note_failure(self.database, place, self.rule, jitter_seconds=jitter)
            self.counts.opened += opened is not None
        if opened is not None:
            log.error(
                "the breaker stays open" if claimed.probe else "the breaker opened",
                extra={
                    "endpoint": self.endpoint,
                    "model": claimed.model,
                    "failures": opened.failures,
                    "again_in_seconds": round(opened.wait_seconds, 1),
                    "reason": failure.message,
                },
            )

    async def answered(self, claimed: Claimed) -> None:
        """Closes the breaker of the model; raises Unavailable."""
        if await note_answer(self.database, Place(self.endpoint, claimed.model)):
            self.counts.closed += 1
            log.warning(
                "the breaker closed: the model answers again",
                extra={"endpoint": self.endpoint, "model": claimed.model},
            )

    async def released(self, claimed: Claimed) -> None:
        """Lets another generation be the probe; raises Unavailable."""
        place = Place(self.endpoint, claimed.model)
        await release_probe(self.database, place, holder(claimed.id, claimed.attempt))

    def note(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Does this beside the attempt; a database that is away loses the note and no more."""
        task = asyncio.create_task(self._noted(work))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)
        return task

    async def _noted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Unavailable as error:
            self.counts.notes_lost += 1
            log.warning("a breaker could not be noted", extra={"reason": str(error)})
        except Exception:
            self.counts.notes_lost += 1
            log.exception("a breaker could not be noted")

    async def settle(self, notes: set[asyncio.Task[None]]) -> None:
        """Waits for these notes, for a second at most."""
        if notes:
            await asyncio.wait(notes, timeout=NOTE_SECONDS)


class Watch:
    """One attempt's report: `answered` and `failed` as it goes, then `over`."""

    __slots__ = ("_breakers", "_claimed", "_notes", "_told")

    def __init__(self, breakers: Breakers, claimed: Claimed) -> None:
        self._breakers = breakers
        self._claimed = claimed
        self._notes: set[asyncio.Task[None]] = set()
        # An attempt that was claimed without a failure before it has nothing to take back.
        self._told = not (claimed.watched or claimed.probe)

    def answered(self) -> None:
        """The model gave content; noted once, and only where failures are counted."""
        if not self._told:
            self._told = True
            self._notes.add(self._breakers.note(self._breakers.answered(self._claimed)))

    def failed(self, failure: ProviderFailed) -> None:
        """A round failed."""
        if failure.of_endpoint:
            self._told = True
            self._notes.add(self._breakers.note(self._breakers.failed(self._claimed, failure)))
        elif failure.code == "model_error":
            self.answered()

    async def over(self) -> None:
        """The rounds are over; returns when what they told is stored, after a second at most.

        So that whoever sees the end of the attempt, and asks again, finds it counted.
        """
        if self._claimed.probe and not self._told:
            self._told = True
            self._notes.add(self._breakers.note(self._breakers.released(self._claimed)))
        await self._breakers.settle(self._notes)


def endpoint_of(settings: Settings) -> str:
    """The address that breakers are kept for: without a login, which others could read there."""
    url = urlsplit(settings.openai_base_url or DEFAULT_ENDPOINT)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2].lower()}{url.path.rstrip('/')}"
