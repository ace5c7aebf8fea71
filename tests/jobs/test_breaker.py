"""What one attempt notes of its endpoint: at most once, and only where something changes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from jobs.breaker import Breakers, endpoint_of
from jobs.database import CommitUnknown, Database, migrate
from jobs.generation import Kind
from jobs.ids import new_id
from jobs.provider_errors import ProviderFailed
from jobs.settings import Settings
from jobs.store.breaker_notes import Rule
from jobs.store.breakers import BreakerOpen, read_breakers
from jobs.store.claims import Claimed, claim
from jobs.store.intake import Budget, NewGeneration, accept
from tests.services.tallies import statements

DOWN = ProviderFailed("model_unavailable", "gave no answer", of_endpoint=True)
REFUSED = ProviderFailed("model_error", "answered 400", retryable=False)
CUT = ProviderFailed("model_truncated", "was lost")
SETTINGS = Settings(openai_base_url="http://here/v1")


@dataclass(frozen=True)
class Attempts:
    """A worker's breakers, and generations to claim under them."""

    db: Database
    breakers: Breakers

    async def claim(self) -> Claimed:
        """A fresh generation, claimed where the breakers stand."""
        new = NewGeneration(owner="ann", kind=Kind.CHAT, input="hi", model="m")
        one = await accept(
            self.db, new, generation_id=new_id("gen"), budget=Budget(), expires_seconds=60
        )
        claimed = await claim(
            self.db,
            one.generation.id,
            0,
            "wrk_1",
            lease_seconds=10,
            endpoint=self.breakers.endpoint,
            probe_seconds=self.breakers.probe_seconds,
        )
        assert claimed is not None
        return claimed

    async def fail(self, failure: ProviderFailed = DOWN) -> None:
        """An attempt that ends with this failure."""
        watch = self.breakers.watch(await self.claim())
        watch.failed(failure)
        await watch.over()

    async def standing(self) -> list[tuple[str, int]]:
        """Every breaker's state and failures."""
        return [(one.state, one.failures) for one in await read_breakers(self.db)]

    async def probe(self) -> Claimed:
        """Opens the breaker, lets the pause pass, and claims the probe."""
        for _ in range(self.breakers.rule.failures):
            await self.fail()
        await self.let_pause_pass()
        claimed = await self.claim()
        assert claimed.probe
        return claimed

    async def let_pause_pass(self) -> None:
        """Moves the time of the next probe into the past."""
        await self.db.write_one(text("UPDATE breakers SET retry_at = retry_at - 60000"))


@pytest.fixture
async def attempts(sqlite_url: str) -> AsyncIterator[Attempts]:
    """Breakers over a real database that open at the third failure."""
    await migrate(sqlite_url)
    rule = Rule(failures=3, first_pause_seconds=10, longest_pause_seconds=60)
    async with Database.open(sqlite_url) as db, Breakers.open(db, SETTINGS) as breakers:
        breakers.rule = rule
        yield Attempts(db, breakers)


async def test_an_answer_without_failures_before_it_writes_nothing(attempts: Attempts) -> None:
    watch = attempts.breakers.watch(await attempts.claim())
    with statements() as seen:
        watch.answered()
        watch.answered()
        await watch.over()
    assert seen == []


async def test_an_answer_after_failures_is_noted_once(attempts: Attempts) -> None:
    await attempts.fail()
    watch = attempts.breakers.watch(await attempts.claim())
    with statements() as seen:
        for _ in range(5):
            watch.answered()
        await watch.over()
    assert len(seen) == 1
    assert await attempts.standing() == []
    assert attempts.breakers.counts.closed == 0


async def test_failures_in_a_row_open_it_and_an_operator_is_told(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await attempts.fail()
    assert await attempts.standing() == [("open", 3)]
    counts = attempts.breakers.counts
    assert (counts.failures, counts.opened) == (3, 1)
    [told] = [one for one in caplog.records if one.message == "the breaker opened"]
    assert told.levelno == logging.ERROR
    facts = vars(told)
    assert (facts["endpoint"], facts["model"], facts["failures"]) == ("http://here/v1", "m", 3)
    assert 9 < facts["again_in_seconds"] <= 20
    assert facts["reason"] == "gave no answer"
    with pytest.raises(BreakerOpen) as refused:
        await attempts.claim()
    for _ in range(3):
        attempts.breakers.held_back("gen_x", refused.value)
    assert counts.held_back == 1


@pytest.mark.parametrize("failure", [REFUSED, CUT])
async def test_a_failure_of_one_request_counts_not(
    attempts: Attempts, failure: ProviderFailed
) -> None:
    for _ in range(5):
        await attempts.fail(failure)
    assert await attempts.standing() == []


async def test_a_refusal_is_an_answer_and_a_cut_stream_is_none(attempts: Attempts) -> None:
    await attempts.fail()
    await attempts.fail(CUT)
    assert await attempts.standing() == [("closed", 1)]
    await attempts.fail(REFUSED)
    assert await attempts.standing() == []


async def test_a_later_round_that_fails_counts_though_the_first_was_answered(
    attempts: Attempts,
) -> None:
    watch = attempts.breakers.watch(await attempts.claim())
    watch.answered()
    watch.failed(DOWN)
    await watch.over()
    assert await attempts.standing() == [("closed", 1)]


async def test_the_first_content_of_the_probe_closes_it_before_its_end(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watch = attempts.breakers.watch(await attempts.probe())
    watch.answered()
    await asyncio.gather(*watch._notes)
    assert await attempts.standing() == []
    assert attempts.breakers.counts.closed == 1
    told = [one.message for one in caplog.records]
    assert told[-2:] == [
        "trying whether the model answers again",
        "the breaker closed: the model answers again",
    ]
    await watch.over()


async def test_a_failure_of_the_probe_keeps_it_open(attempts: Attempts) -> None:
    watch = attempts.breakers.watch(await attempts.probe())
    watch.failed(DOWN)
    await watch.over()
    assert await attempts.standing() == [("open", 4)]
    assert attempts.breakers.counts.reopened == 1
    with pytest.raises(BreakerOpen) as refused:
        await attempts.claim()
    assert 18 < refused.value.wait_seconds <= 30


@pytest.mark.parametrize("failure", [None, CUT])
async def test_a_probe_that_was_stopped_or_cut_off_makes_room_for_the_next(
    attempts: Attempts, failure: ProviderFailed | None
) -> None:
    watch = attempts.breakers.watch(await attempts.probe())
    if failure is not None:
        watch.failed(failure)
    await watch.over()
    assert await attempts.standing() == [("half_open", 3)]
    assert (await attempts.claim()).probe


async def test_a_note_that_the_database_does_not_take_costs_the_attempt_nothing(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise CommitUnknown

    claimed = await attempts.claim()
    monkeypatch.setattr(Database, "write", away)
    watch = attempts.breakers.watch(claimed)
    watch.failed(DOWN)
    await watch.over()
    assert attempts.breakers.counts.notes_lost == 1
    assert await attempts.standing() == []


async def test_an_end_waits_no_longer_than_a_second_for_its_note(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = asyncio.Event()

    async def hangs(*_: object, **__: object) -> None:
        await released.wait()

    claimed = await attempts.claim()
    monkeypatch.setattr("jobs.breaker.NOTE_SECONDS", 0.05)
    monkeypatch.setattr(Database, "write", hangs)
    watch = attempts.breakers.watch(claimed)
    watch.failed(DOWN)
    async with asyncio.timeout(2):
        await watch.over()
    released.set()


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (None, "https://api.openai.com/v1"),
        ("http://Host:8000/v1/", "http://host:8000/v1"),
        ("https://ann:secret@host/Path?key=secret", "https://host/Path"),
    ],
)
def test_an_endpoint_is_named_without_what_logs_in_to_it(url: str | None, endpoint: str) -> None:
    assert endpoint_of(Settings(openai_base_url=url)) == endpoint
