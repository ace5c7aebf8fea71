"""An endpoint that fails: it is left alone by all workers, tried by one probe, what waits ends."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.generation import Generation, State
from jobs.store.breaker_notes import Rule
from jobs.store.breakers import Breaker, read_breakers
from jobs.store.commits import request_cancel
from tests.jobs.at_work import OWNER, Work, at_work, names_of
from tests.services import eventually, free_port

DOWN = "demo-status-503"
BUSY_TWICE = "demo-fast-tokens-3-flaky-6-503"
"""Refuses a body six times, which are two generations of three tries each, and then answers."""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule(failures=2, first_pause_seconds=0.3, longest_pause_seconds=0.6)
    monkeypatch.setattr("jobs.breaker.RULE", rule)
    monkeypatch.setattr("jobs.provider._FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("jobs.rescue.LONGEST_PAUSE_SECONDS", 0.1)


@pytest.fixture
async def work(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, database_url, tmp_path, relay_lease_seconds=2.0) as work:
        yield work


def keep_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe comes as long as the test lasts."""
    monkeypatch.setattr("jobs.breaker.RULE", Rule(failures=2, first_pause_seconds=600))


async def fails_twice(work: Work, model: str) -> Breaker:
    """The breaker that two failures in a row have opened."""
    for _ in range(2):
        ended = await work.ended(await work.ask("Hello", model=model))
        assert ended.error is not None
        assert ended.error.code == "model_error"
    [breaker] = await read_breakers(work.db)
    assert (breaker.model, breaker.failures) == (model, 2)
    assert breaker.opened_at is not None
    return breaker


async def asked_of(work: Work, model: str) -> int:
    """How many requests the model has been sent."""
    return sum(one["model"] == model for one in await work.requests())


async def held_back(work: Work, one: Generation, caplog: pytest.LogCaptureFixture) -> None:
    """Returns once a worker has said why it does not start this one."""

    def is_said() -> bool:
        return any(
            record.message.startswith("not started: the breaker")
            and vars(record)["generation"] == one.id
            for record in caplog.records
        )

    await eventually(is_said)


async def test_what_waits_for_a_model_that_stays_away_ends_as_model_unavailable(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keep_it_open(monkeypatch)
    await work.hire()
    await work.hire()
    await fails_twice(work, DOWN)
    asked = await asked_of(work, DOWN)
    waiting = await work.ask("Hello", model=DOWN, expires_seconds=1.5)
    await held_back(work, waiting, caplog)
    assert (await work.read(waiting)).state is State.QUEUED
    other = await work.ended(await work.ask("Hello"))
    assert other.state is State.COMPLETED
    ended = await work.ended(waiting)
    assert (ended.state, ended.attempt, ended.started_at) == (State.FAILED, 0, None)
    assert ended.error is not None
    assert (ended.error.code, ended.error.retryable) == ("model_unavailable", True)
    assert await asked_of(work, DOWN) == asked
    [told] = [one for one in caplog.records if one.message == "not started in time"]
    assert vars(told)["code"] == "model_unavailable"


async def test_what_waits_runs_once_a_probe_was_answered(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await work.hire()
    await work.hire()
    await fails_twice(work, BUSY_TWICE)
    waiting = [await work.ask("Hello", model=BUSY_TWICE) for _ in range(6)]
    for one in waiting:
        ended = await work.ended(one, within=15)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert await read_breakers(work.db) == ()
    assert await asked_of(work, BUSY_TWICE) == 6 + 6
    told = [one.message for one in caplog.records]
    assert told.count("trying whether the model answers again") == 1
    assert told.count("the breaker closed: the model answers again") == 1


async def test_each_probe_that_fails_costs_one_generation_and_leaves_the_rest_waiting(
    work: Work,
) -> None:
    await work.hire()
    await work.hire()
    await fails_twice(work, DOWN)
    waiting = [await work.ask(f"Hello {number}", model=DOWN) for number in range(4)]

    async def failed() -> int:
        return [(await work.read(one)).state for one in waiting].count(State.FAILED)

    async def some_probes_failed() -> bool:
        return await failed() >= 2

    await eventually(some_probes_failed, within=15)
    # One that runs beside them would have ended uncounted.
    ended = await failed()
    [breaker] = await read_breakers(work.db)
    assert breaker.failures >= 2 + ended
    assert breaker.state != "closed"


async def test_one_that_waits_is_cancelled_at_once(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keep_it_open(monkeypatch)
    await work.hire()
    await fails_twice(work, DOWN)
    waiting = await work.ask("Hello", model=DOWN)
    await held_back(work, waiting, caplog)
    outcome = await request_cancel(work.db, OWNER, waiting.id)
    assert outcome.ended_now
    assert (await work.read(waiting)).state is State.CANCELLED


async def test_a_worker_at_another_endpoint_takes_what_the_first_one_may_not(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keep_it_open(monkeypatch)
    monkeypatch.setattr("jobs.breaker.LEFT_SECONDS", 60.0)
    await work.hire(openai_base_url=f"http://127.0.0.1:{free_port()}/v1")
    for _ in range(2):
        ended = await work.ended(await work.ask("Hello"))
        assert ended.error is not None
        assert ended.error.code == "model_unavailable"
    waiting = await work.ask("Hello")
    await held_back(work, waiting, caplog)

    async def none_is_queued() -> bool:
        return await work.queue.depth() == 0

    async def one_is_queued() -> bool:
        return await work.queue.depth() == 1

    # The worker says first that it waits, and would take a sooner offer out along with the old one.
    await eventually(none_is_queued)
    # Offered again, and the first one looks into the queue: it leaves that one to others.
    await work.queue.enqueue(waiting.id, 0)
    await work.ended(await work.ask("Hello", model="demo-fast-echo"))
    await eventually(one_is_queued)
    await work.hire()
    assert (await work.ended(waiting)).state is State.COMPLETED
    assert [one.model for one in await read_breakers(work.db)] == ["demo-fast", "demo-fast-echo"]


async def test_no_first_token_in_time_opens_it_and_silence_after_one_does_not(
    redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_it_open(monkeypatch)
    async with at_work(
        redis_url,
        sqlite_url,
        tmp_path,
        relay_first_token_timeout_seconds=0.4,
        relay_token_timeout_seconds=0.2,
    ) as work:
        await work.hire()
        for model in ("demo-fast-tokens-9-silent-after-3", "demo-fast-silent"):
            asked = [await work.ask("Hello", model=model) for _ in range(2)]
            for ended in await asyncio.gather(*(work.ended(one) for one in asked)):
                assert ended.error is not None
                assert ended.error.code == "model_timeout"
        [breaker] = await read_breakers(work.db)
        assert (breaker.model, breaker.state) == ("demo-fast-silent", "open")


async def test_a_handed_over_one_goes_on_though_the_breaker_is_open(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_it_open(monkeypatch)
    model = "demo-fast-tokens-9-silent-after-3"
    first = await work.hire(grace=0.0)
    asked = await work.ask("Hello", model=model)
    await work.wrote(asked)
    await work.sql(
        "INSERT INTO breakers (endpoint, model, failures, pause_ms, opened_at,"
        " retry_at, changed_at)"
        " VALUES (:endpoint, :model, 2, 600000, 1, 9999999999999, 1)",
        endpoint=work.settings.openai_base_url,
        model=model,
    )
    await work.hire()
    await first.dismiss()

    async def is_taken() -> bool:
        return (await work.read(asked)).attempt == 2

    async def is_begun_anew() -> bool:
        return names_of(await work.log(asked))[:3] == ["reset", "status", "token"]

    await eventually(is_taken)
    await eventually(is_begun_anew)

    async def is_closed() -> bool:
        return await read_breakers(work.db) == ()

    # Its answer tells that the endpoint is there, probe or not.
    await eventually(is_closed)
