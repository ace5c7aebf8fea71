"""A replay gives each pending record to the database once, in order, and loses none to an error."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from jobs.journal import Journal, JournalRecord, JournalWriteFailed, replay
from tests.jobs.journal_samples import record, written


class DatabaseAway(Exception):
    """The database can't be reached."""


async def test_replay_takes_pending_records_in_order_and_marks_each_as_decided(
    tmp_path: Path,
) -> None:
    written(tmp_path, [record(n, {"text": f"é{n}"}) for n in range(4)])
    tried: list[JournalRecord] = []

    async def apply(one: JournalRecord) -> bool:
        tried.append(one)
        return one.event_id != "gen_000002:1"

    with Journal.open(tmp_path, "off") as journal:
        journal.mark_done("gen_000000:1", "replayed")
        report = await replay(journal, apply)
        assert tried == [record(n, {"text": f"é{n}"}) for n in (1, 2, 3)]
        assert (report.replayed, report.refused, report.left) == (2, 1, 0)
        assert report.failures == {}
    with Journal.open(tmp_path, "off") as journal:
        outcomes = [journal.outcome(record(n).event_id) for n in range(4)]
        assert outcomes == ["replayed", "replayed", "refused", "replayed"]
        assert (await replay(journal, apply)).replayed == 0
        assert len(tried) == 3


async def test_replay_stops_when_the_database_is_away_and_goes_on_from_there(
    tmp_path: Path,
) -> None:
    written(tmp_path, [record(n) for n in range(3)])
    tried: list[str] = []
    away = DatabaseAway()

    async def apply(one: JournalRecord) -> bool:
        tried.append(one.event_id)
        if len(tried) == 2:
            raise away
        return True

    with Journal.open(tmp_path, "off") as journal:
        report = await replay(journal, apply)
        assert (report.replayed, report.refused, report.left) == (1, 0, 2)
        assert report.failures == {"gen_000001:1": away}
        report = await replay(journal, apply)
        assert (report.replayed, report.left) == (2, 0)
    assert tried == ["gen_000000:1", "gen_000001:1", "gen_000001:1", "gen_000002:1"]


async def test_a_record_that_fails_for_itself_does_not_hold_up_the_others(tmp_path: Path) -> None:
    written(tmp_path, [record(n) for n in range(3)])

    async def apply(one: JournalRecord) -> bool:
        if one.event_id == "gen_000001:1":
            raise KeyError(one.event_id)
        return True

    with Journal.open(tmp_path, "off") as journal:
        report = await replay(journal, apply, stop_on=(DatabaseAway,))
        assert (report.replayed, report.left) == (2, 1)
        assert list(report.failures) == ["gen_000001:1"]
        assert [one.event_id for one in journal.pending()] == ["gen_000001:1"]


async def test_a_cancelled_replay_leaves_the_record_pending(tmp_path: Path) -> None:
    written(tmp_path, [record(1)])
    entered = asyncio.Event()

    async def apply(one: JournalRecord) -> bool:
        entered.set()
        await asyncio.Event().wait()
        return True

    with Journal.open(tmp_path, "off") as journal:
        task = asyncio.create_task(replay(journal, apply))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert journal.stats()["pending"] == 1


async def test_a_record_that_could_not_be_marked_is_refused_by_the_fence_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, [record(n) for n in range(2)])
    committed: set[str] = set()

    async def apply(one: JournalRecord) -> bool:
        if one.event_id in committed:
            return False
        committed.add(one.event_id)
        return True

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    with Journal.open(tmp_path, "off") as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            report = await replay(journal, apply)
        assert (report.replayed, report.refused, report.left) == (0, 0, 2)
        assert isinstance(report.failures["gen_000000:1"], JournalWriteFailed)
        assert committed == {"gen_000000:1"}
        report = await replay(journal, apply)
        assert (report.replayed, report.refused, report.left) == (1, 1, 0)


async def test_records_appended_during_a_replay_wait_for_the_next_one(tmp_path: Path) -> None:
    written(tmp_path, [record(1)])
    with Journal.open(tmp_path, "off") as journal:

        async def apply(one: JournalRecord) -> bool:
            await asyncio.to_thread(journal.append, record(2))
            return True

        report = await replay(journal, apply)
        assert (report.replayed, report.left) == (1, 1)
        assert [one.event_id for one in journal.pending()] == ["gen_000002:1"]
