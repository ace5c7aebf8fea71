"""What several tests of the running side share."""

import pytest

from tests.jobs.lost_work import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that rescuers of this test go by."""
    clock = Clock()
    monkeypatch.setattr("jobs.rescue.time", clock)
    monkeypatch.setattr("jobs.contact.time", clock)
    monkeypatch.setattr("jobs.lost_ends.time", clock)
    return clock
