"""A worker tells Prometheus what its generations came to, as they came."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from jobs.generation import Kind
from jobs.store.breaker_notes import Rule
from tests.jobs.at_work import Work, at_work
from tests.services import eventually
from tests.services.ports import free_port
from tests.services.scrape import Scrape


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def scraped(port: int) -> Scrape:
    """What the worker tells now."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    return Scrape(answer.raise_for_status().text)


async def hired(work: Work) -> int:
    """A worker that tells; the port where."""
    port = free_port()
    await work.hire(relay_metrics_address=f"127.0.0.1:{port}")

    async def listens() -> bool:
        try:
            await scraped(port)
        except httpx.TransportError:
            return False
        return True

    await eventually(listens, within=20)
    return port


async def test_ends_tokens_times_and_what_runs_are_told(work: Work) -> None:
    port = await hired(work)
    completed = await work.ended(await work.ask("Hello", model="demo-tokens-20-200"))
    failed = await work.ended(await work.dictate("no file", kind=Kind.GENERATE))
    assert failed.error is not None
    running = await work.ask("Wait", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(running)
    during = await scraped(port)
    assert during.value("relay_worker_running") == 1
    await work.cancel(running)
    await work.ended(running)
    told = await scraped(port)
    ended = "relay_generations_ended_total"
    assert told.value(ended, kind="chat", outcome="completed", code="") == 1
    assert told.value(ended, kind="generate", outcome="failed", code=failed.error.code) == 1
    assert told.value(ended, kind="chat", outcome="cancelled", code="") == 1
    assert told.value(ended) == 3
    assert told.value("relay_attempts_total", after="queued") == 3
    assert told.value("relay_queue_wait_seconds_count") == 3
    assert told.value("relay_first_token_seconds_count") == 3
    assert told.value("relay_model_first_token_seconds_count") == 3
    assert told.value("relay_attempt_seconds_count") == 3
    # Twenty tokens that came 5 ms apart.
    assert told.value("relay_token_gap_seconds_count") >= 10
    whole = told.value("relay_attempt_seconds_sum")
    assert 0.05 < told.value("relay_token_gap_seconds_sum") < whole
    usages = [one.usage for one in (completed, failed) if one.usage is not None]
    assert usages
    for direction in ("input", "output"):
        spent = sum(getattr(usage, f"{direction}_tokens") for usage in usages)
        assert told.value("relay_model_tokens_total", direction=direction) == spent > 0
    assert told.value("relay_worker_running") == 0
    assert told.value("relay_worker_capacity") == work.settings.relay_max_jobs
    assert told.value("relay_publish_failures_total") == 0
    assert told.value("relay_log_lag_events") == told.value("relay_journal_pending") == 0
    assert told.value("relay_flushes_total") > 0


async def test_an_attempt_that_takes_over_counts_no_queue_wait(work: Work) -> None:
    first = await work.hire(grace=0.0)
    asked = await work.ask("Hello", model="demo-tokens-60-60")
    await work.wrote(asked)
    await first.dismiss()
    port = await hired(work)
    await work.queue.enqueue(asked.id, 1)
    await work.ended(asked)
    told = await scraped(port)
    assert told.value("relay_attempts_total", after="handed_over") == 1
    assert told.value("relay_queue_wait_seconds_count") == 0
    assert told.value("relay_first_token_seconds_count") == 0
    assert told.value("relay_model_first_token_seconds_count") == 1


async def test_a_model_that_is_away_shows_in_the_breakers_events(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.breaker.RULE", Rule(failures=2))
    monkeypatch.setattr("jobs.provider._FIRST_WAIT_SECONDS", 0.01)
    port = await hired(work)
    for number in range(2):
        await work.ended(await work.ask(f"Hello {number}", model="demo-status-500"))
    told = await scraped(port)
    assert told.value("relay_breaker_events_total", event="failures") == 2
    assert told.value("relay_breaker_events_total", event="opened") == 1
    assert told.value("relay_generations_ended_total", code="model_error") == 2
