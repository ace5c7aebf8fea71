"""A worker's sign of life goes on, whatever becomes of one beat."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs.beat import SHORTEST_WAIT_SECONDS
from jobs.generation import State
from jobs.store.claims import beat
from tests.jobs.at_work import Work, at_work
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
