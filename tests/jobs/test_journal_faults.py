"""A disk that fails leaves the journal as it was; an accepted line is as durable as promised."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.journal import Journal, JournalDamaged, JournalWriteFailed
from jobs.journal_view import FILE_NAME
from tests.jobs.journal_samples import record


class Disk:
    """Records the system calls that make a line durable, and fails those it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.fail: dict[str, OSError] = {}
        self.at_most: int | None = None
        self.good_writes = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)
        for name in ("fdatasync", "fsync", "ftruncate", "replace"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def write(self, fd: int, data: bytes) -> int:
        """Writes at most `at_most` bytes; told to fail, it does so after `good_writes` more."""
        self.calls.append("write")
        if "write" in self.fail:
            if self.good_writes == 0:
                raise self.fail["write"]
            self.good_writes -= 1
        return self._write(fd, data[: self.at_most])

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            self.calls.append(name)
            if name in self.fail:
                raise self.fail[name]
            return call(*args)

        return wrapped


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize("at_most", [None, 10], ids=["nothing written", "ten bytes written"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_is_cut_off_and_the_journal_stays_usable(
    tmp_path: Path, disk: Disk, at_most: int | None, code: int
) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
        before, stats = journal.path.read_bytes(), journal.stats()
        disk.fail["write"] = OSError(code, os.strerror(code))
        disk.at_most, disk.good_writes = at_most, 1 if at_most else 0
        disk.calls.clear()
        with pytest.raises(JournalWriteFailed) as caught:
            journal.append(record(2))
        assert caught.value.cause.errno == code
        assert disk.calls == ["write", *(["write"] if at_most else []), "ftruncate"]
        assert journal.path.read_bytes() == before
        assert journal.stats() == stats

        disk.fail.clear()
        disk.at_most = None
        assert journal.append(record(2)).offset == len(before)
    with Journal.open(tmp_path, "off") as journal:
        assert [one.event_id for one in journal.pending()] == ["gen_000001:1", "gen_000002:1"]


def test_a_line_that_the_system_takes_in_pieces_is_whole(tmp_path: Path, disk: Disk) -> None:
    disk.at_most = 7
    with Journal.open(tmp_path, "off") as journal:
        entry = journal.append(record(1, {"text": "é" * 50}))
        assert disk.calls.count("write") > 20
        assert journal.path.stat().st_size == entry.length + 1
    with Journal.inspect(tmp_path) as view:
        assert view.stats()["pending"] == 1


def test_a_system_that_takes_no_byte_is_a_failure_not_a_loop(tmp_path: Path, disk: Disk) -> None:
    with Journal.open(tmp_path, "off") as journal:
        disk.at_most = 0
        with pytest.raises(JournalWriteFailed):
            journal.append(record(1))


def test_what_could_not_be_cut_off_is_cut_off_by_the_next_append(
    tmp_path: Path, disk: Disk
) -> None:
    with Journal.open(tmp_path, "off") as journal:
        end = journal.append(record(1)).length + 1
        disk.at_most, disk.good_writes = 10, 1
        disk.fail = {
            "write": OSError(errno.ENOSPC, "full"),
            "ftruncate": OSError(errno.EIO, "broken"),
        }
        with pytest.raises(JournalWriteFailed):
            journal.append(record(2))
        assert journal.path.stat().st_size == end + 10
        with pytest.raises(JournalWriteFailed) as caught:
            journal.append(record(2))
        assert caught.value.cause.errno == errno.EIO
        assert journal.stats() == {"total": 1, "bytes": end, "pending": 1}

        disk.fail, disk.at_most = {}, None
        assert journal.append(record(2)).offset == end
    with Journal.open(tmp_path, "off") as journal:
        assert journal.stats()["total"] == 2


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_line_that_the_disk_did_not_confirm_is_refused_and_cut_off(
    tmp_path: Path, disk: Disk, call: str
) -> None:
    with Journal.open(tmp_path, "always") as journal:
        disk.fail[call] = OSError(errno.EIO, "broken")
        with pytest.raises(JournalWriteFailed):
            journal.append(record(1))
        assert journal.path.stat().st_size == 0
        disk.fail.clear()
        journal.append(record(1))
        assert journal.stats()["total"] == 1


def test_always_syncs_the_line_and_once_its_name_before_append_returns(
    tmp_path: Path, disk: Disk
) -> None:
    with Journal.open(tmp_path, "always", keep_bytes=1) as journal:
        for expected in (["write", "fdatasync", "fsync"], ["write", "fdatasync"]):
            disk.calls.clear()
            journal.append(record(len(expected)))
            assert disk.calls == expected
        disk.calls.clear()
        journal.mark_done("gen_000003:1", "replayed")
        journal.mark_done("gen_000002:1", "replayed")
        assert disk.calls == ["write", "fdatasync"] * 2
        disk.calls.clear()
        journal.append(record(9))
        assert disk.calls == ["replace", "write", "fdatasync", "fsync"]


def test_always_syncs_the_names_of_the_directories_that_it_makes(
    tmp_path: Path, disk: Disk
) -> None:
    with Journal.open(tmp_path / "a" / "b", "always"):
        assert disk.calls.count("fsync") == 2


def test_off_leaves_syncing_to_the_system(tmp_path: Path, disk: Disk) -> None:
    with Journal.open(tmp_path / "deep" / "journal", "off", keep_bytes=1) as journal:
        for number in range(2):
            journal.append(record(number))
            journal.mark_done(f"gen_{number:06d}:1", "replayed")
    assert "write" in disk.calls
    assert "replace" in disk.calls
    assert not {"fsync", "fdatasync"} & set(disk.calls)


def test_a_file_that_can_not_start_anew_goes_on(tmp_path: Path, disk: Disk) -> None:
    with Journal.open(tmp_path, "off", keep_bytes=1) as journal:
        journal.append(record(1))
        journal.mark_done("gen_000001:1", "replayed")
        disk.fail["replace"] = OSError(errno.EACCES, "no")
        assert journal.append(record(2)).offset > 0
        assert "replace" in disk.calls
        assert journal.stats()["total"] == 2
    with Journal.open(tmp_path, "off") as journal:
        assert [one.event_id for one in journal.pending()] == ["gen_000002:1"]


def test_an_append_to_a_removed_file_is_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
        (tmp_path / FILE_NAME).unlink()
        with pytest.raises(JournalWriteFailed) as caught:
            journal.append(record(2))
        assert caught.value.cause.errno == errno.ENOENT


def test_an_append_to_a_file_that_somebody_shortened_is_refused(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
        os.truncate(journal.path, 5)
        with pytest.raises(JournalDamaged) as caught:
            journal.append(record(2))
        assert caught.value.offset == 5
        assert journal.path.stat().st_size == 5
