"""SQLite's lock for writing is taken soon after it is let go of, and waited for in bounded time."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs import sqlite_lock
from jobs.sqlite_lock import BEGIN_TO_WRITE, BUSY_SECONDS, begin_to_write


@dataclass
class Holder:
    """Another connection that holds the lock, and a clock that passes as one sleeps."""

    connection: sqlite3.Connection
    lets_go_at: float = float("inf")
    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def hold(self, seconds: float) -> None:
        """Takes the lock for so long."""
        self.waits.clear()
        self.connection.execute(BEGIN_TO_WRITE)
        self.lets_go_at = self.now + seconds

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Lets it pass."""
        self.waits.append(seconds)
        self.now += seconds
        if self.now >= self.lets_go_at and self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def opened(path: Path) -> sqlite3.Connection:
    """A connection as the project has them, that waits for nothing by itself."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holder]:
    """Who holds the lock."""
    connection = opened(tmp_path / "lock.db")
    holder = Holder(connection)
    monkeypatch.setattr(sqlite_lock, "time", holder)
    yield holder
    connection.close()


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Who wants it."""
    connection = opened(tmp_path / "lock.db")
    yield connection
    connection.close()


def busy_timeout(connection: sqlite3.Connection) -> int:
    """For how long its other statements wait, in ms."""
    [timeout] = connection.execute("PRAGMA busy_timeout").fetchone()
    return int(timeout)


def test_a_free_lock_is_taken_without_waiting(holder: Holder, mine: sqlite3.Connection) -> None:
    begin_to_write(mine)
    assert mine.in_transaction
    assert holder.waits == []
    assert busy_timeout(mine) == BUSY_SECONDS * 1000


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seconds=st.floats(0.0001, BUSY_SECONDS - 0.02))
def test_it_is_taken_within_an_eighth_of_the_wait_and_10_ms_at_most(
    seconds: float, holder: Holder, mine: sqlite3.Connection
) -> None:
    holder.hold(seconds)
    began = holder.now
    begin_to_write(mine)
    mine.execute("ROLLBACK")
    late = holder.now - began - seconds
    assert -1e-6 <= late <= min(max(0.0001, seconds / 8), 0.01) + 1e-6
    # It is looked at rarely enough to cost little, however long it takes.
    assert len(holder.waits) <= 1200


def test_a_lock_that_is_kept_is_given_up_after_five_seconds(
    holder: Holder, mine: sqlite3.Connection
) -> None:
    holder.hold(60)
    began = holder.now
    with pytest.raises(sqlite3.OperationalError) as failed:
        begin_to_write(mine)
    assert failed.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    assert BUSY_SECONDS <= holder.now - began <= BUSY_SECONDS + 0.01
    assert not mine.in_transaction
    assert busy_timeout(mine) == BUSY_SECONDS * 1000


def test_another_error_is_raised_at_once(holder: Holder, mine: sqlite3.Connection) -> None:
    begin_to_write(mine)
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        begin_to_write(mine)
    assert holder.waits == []
    assert busy_timeout(mine) == BUSY_SECONDS * 1000
