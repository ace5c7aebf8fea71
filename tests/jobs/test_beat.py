"""A worker's sign of life goes on, whatever becomes of one beat."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

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
