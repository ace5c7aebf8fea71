"""What is brought to the disk beside the loop, and who hears of it when."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.disk_sync import SLOW_SECONDS, DiskSync
from tests.services import HeldDisk, eventually


@pytest.fixture
async def sync(tmp_path: Path) -> AsyncIterator[DiskSync]:
    sync = DiskSync(str(tmp_path / "log"))
    yield sync
    sync.close()


async def test_what_was_written_before_is_on_the_disk_when_it_has_settled(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("one")
    await sync.begin()
    assert list(disk.synced.values()) == [b"one"]


async def test_what_is_written_while_a_sync_is_under_way_waits_for_another(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path
) -> None:
    disk.goes_on.clear()
    (tmp_path / "log").write_text("one")
    first = sync.begin()
    await eventually(lambda: disk.asked == 1)
    (tmp_path / "log").write_text("one two")
    second = sync.begin()
    assert first is not second
    disk.goes_on.set()
    await first
    assert not second.done()
    await second
    assert list(disk.synced.values()) == [b"one", b"one two"]


async def test_however_many_write_meanwhile_one_more_sync_is_for_all(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path
) -> None:
    disk.goes_on.clear()
    (tmp_path / "log").touch()
    first = sync.begin()
    await eventually(lambda: disk.asked == 1)
    others = {sync.begin() for _ in range(20)}
    disk.goes_on.set()
    [other] = others
    await first
    await other
    assert disk.asked == 2


async def test_a_disk_that_refuses_is_told_to_all_who_wait_and_asked_anew_next_time(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    disk.error = OSError(5, "Input/output error")
    settling = sync.begin()
    waiting = [asyncio.shield(settling) for _ in range(2)]
    for one in waiting:
        with pytest.raises(OSError, match="Input/output"):
            await one
    assert not sync.is_well
    disk.error = None
    await sync.begin()
    assert list(disk.synced.values()) == [b""]


async def test_a_log_that_is_gone_is_in_its_database_and_has_settled(
    disk: HeldDisk, sync: DiskSync
) -> None:
    await sync.begin()
    assert disk.asked == 0


async def test_a_disk_whose_sync_takes_long_is_not_well_until_it_is_over(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path
) -> None:
    disk.goes_on.clear()
    (tmp_path / "log").touch()
    settling = sync.begin()
    assert sync.is_well
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SLOW_SECONDS * 1.5):
            await asyncio.shield(settling)
    assert not sync.is_well
    disk.goes_on.set()
    await settling
    assert sync.is_well


async def test_a_closed_one_leaves_no_thread(disk: HeldDisk, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sync = DiskSync(str(tmp_path / "log"))
    await sync.begin()
    [thread] = set(threading.enumerate()) - before
    sync.close()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_a_disk_that_has_refused_is_not_well_for_a_while(
    disk: HeldDisk, sync: DiskSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.disk_sync.REFUSED_SECONDS", 0.2)
    (tmp_path / "log").touch()
    disk.error = OSError(5, "Input/output error")
    await asyncio.wait([sync.begin()])
    assert not sync.is_well
    await eventually(lambda: sync.is_well)
