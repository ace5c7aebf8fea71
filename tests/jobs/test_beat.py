"""A worker's sign of life goes on, whatever becomes of one beat."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs.beat import SHORTEST_WAIT_SECONDS
from jobs.generation import Generation, State
from jobs.runner import Runner
from jobs.store.claims import beat, claim, register_worker
from tests.jobs.at_work import Work, at_work
from tests.jobs.lost_work import Clock
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def test_beats_that_fail_for_whatever_reason_are_not_put_off(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beats = 0

    async def failing_at_first(*arguments: Any, **named: Any) -> Any:
        nonlocal beats
        beats += 1
        if beats <= 6:
            raise KeyError("a defect")
        return await beat(*arguments, **named)

    monkeypatch.setattr("jobs.beat.beat", failing_at_first)
    await work.hire(relay_lease_seconds=0.8)
    # Put off as other loops are, six that fail would take twelve seconds.
    await eventually(lambda: beats > 7, within=5.0)
    assert caplog.text.count("a heartbeat failed") == 1
    assert (await work.ended(await work.ask("Hello"))).state is State.COMPLETED


@pytest.mark.parametrize(("lease", "within"), [(20.0, 5.0), (0.8, SHORTEST_WAIT_SECONDS)])
async def test_a_beat_is_given_up_while_there_is_time_for_the_next_ones(
    work: Work, monkeypatch: pytest.MonkeyPatch, lease: float, within: float
) -> None:
    waits: list[float] = []

    async def noted(*arguments: Any, **named: Any) -> Any:
        waits.append(named["within"])
        return await beat(*arguments, **named)

    monkeypatch.setattr("jobs.beat.beat", noted)
    await work.hire(relay_lease_seconds=lease)
    await eventually(lambda: bool(waits))
    assert waits[0] == within


async def test_a_lease_counts_from_when_its_beat_was_sent(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may have noted it long before its answer came."""
    leased: list[float] = []

    async def slow(*arguments: Any, **named: Any) -> Any:
        told = await beat(*arguments, **named)
        clock.now += 4
        return told

    monkeypatch.setattr("jobs.beat.time", clock)
    monkeypatch.setattr("jobs.beat.beat", slow)
    monkeypatch.setattr(Runner, "leased", lambda _, until: leased.append(until))
    sent = clock.now
    await work.hire()
    await eventually(lambda: bool(leased))
    assert leased[0] == sent + work.settings.relay_lease_seconds


async def test_what_is_claimed_while_a_beat_is_under_way_is_not_judged_by_it(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = 0
    asked: list[Generation] = []

    async def claimed_meanwhile(*arguments: Any, **named: Any) -> Any:
        nonlocal beats
        told = await beat(*arguments, **{**named, "known": None})
        beats += 1
        if beats == 3:
            asked.append(await work.ask("Hello", model="demo-words-30-pace-30"))
            await work.wrote(asked[0])
        return told

    monkeypatch.setattr("jobs.beat.beat", claimed_meanwhile)
    await work.hire(relay_lease_seconds=4.0)
    await eventually(lambda: bool(asked), within=10)
    ended = await work.ended(asked[0])
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)


async def test_what_its_tally_does_not_show_is_found_within_a_lease(work: Work) -> None:
    """As many, in as many attempts, and others: they were taken over, and one claim unheard of."""
    await work.hire(relay_lease_seconds=1.0)
    here = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(here)
    unheard = await work.store("Hello")
    await register_worker(work.db, "wrk_other", 1)
    assert await claim(work.db, unheard.id, 0, "wrk_other", lease_seconds=10)
    [(worker_id,)] = await work.sql("SELECT id FROM workers WHERE id <> 'wrk_other'")
    await work.sql(
        "UPDATE generations SET worker_id ="
        " CASE worker_id WHEN :one THEN 'wrk_other' ELSE :one END",
        one=worker_id,
    )
    ended = await work.ended(unheard)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
    assert await work.sql(
        "SELECT lost_attempts FROM generations WHERE id = :id", id=unheard.id
    ) == [(0,)]
