"""What is appended is read back to the byte, counted in one moment, done once, and bounded."""

import json
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.journal import (
    DuplicateEvent,
    EventUnknown,
    Journal,
    JournalClosed,
    JournalLocked,
    JournalRecord,
    RecordRefused,
    verify,
)
from jobs.journal_view import FILE_NAME
from tests.jobs.journal_samples import payloads, record, texts, written


def test_an_entry_gives_exactly_the_records_bytes_with_multi_byte_text(tmp_path: Path) -> None:
    texts_of_all_widths = ["plain", "Chidé", "「日本」", "🎉👩‍👩‍👧", "\x00\n\r\u2028", ""]
    with Journal.open(tmp_path, "off") as journal:
        entries = [
            journal.append(record(n, {"text": text})) for n, text in enumerate(texts_of_all_widths)
        ]
        content = journal.path.read_bytes()
        for entry, text in zip(entries, texts_of_all_widths, strict=True):
            line = content[entry.offset : entry.offset + entry.length]
            assert journal.read(entry.event_id) == line
            assert json.loads(line)["payload"] == {"text": text}
            assert content[entry.offset + entry.length] == ord("\n")
    assert content.count(b"\n") == len(texts_of_all_widths)
    content.decode()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(texts.filter(bool), payloads), unique_by=lambda pair: pair[0], max_size=6),
    st.data(),
)
def test_a_reopened_journal_has_the_same_records_in_the_same_order(
    given_records: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    records = [
        JournalRecord(
            event_id=event_id, generation_id="g", attempt=1, written_at="t", payload=payload
        )
        for event_id, payload in given_records
    ]
    done = data.draw(st.sets(st.sampled_from([one.event_id for one in records]))) if records else []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Journal.open(directory, "off") as journal:
            lines = {one.event_id: journal.append(one) for one in records}
            for event_id in sorted(done):
                journal.mark_done(event_id, "refused")
            stats, bytes_before = journal.stats(), {i: journal.read(i) for i in lines}
        with Journal.open(directory, "off") as journal, Journal.inspect(directory) as view:
            expected = [one for one in records if one.event_id not in done]
            for reader in (journal, view):
                assert list(reader.pending()) == expected
                assert reader.stats() == stats
                assert {i: reader.read(i) for i in lines} == bytes_before
                assert {i for i in lines if reader.outcome(i) == "refused"} == set(done)
            assert {i: view.entry(i) for i in lines} == lines


def test_stats_count_done_records_too_and_bytes_are_the_files(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        assert journal.stats() == {"total": 0, "bytes": 0, "pending": 0}
        for number in range(3):
            journal.append(record(number))
        journal.mark_done("gen_000001:1", "replayed")
        size = journal.path.stat().st_size
        assert journal.stats() == {"total": 3, "bytes": size, "pending": 2}
        assert [one.event_id for one in journal.pending()] == ["gen_000000:1", "gen_000002:1"]


def test_a_record_is_marked_done_once_and_its_first_outcome_stays(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
        assert journal.outcome("gen_000001:1") is None
        journal.mark_done("gen_000001:1", "replayed")
        before = journal.stats()
        journal.mark_done("gen_000001:1", "refused")
        assert journal.outcome("gen_000001:1") == "replayed"
        assert journal.stats() == before


def test_the_very_same_record_again_is_not_written_twice(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        first = journal.append(record(1, {"text": "é"}))
        stats = journal.stats()
        assert journal.append(record(1, {"text": "é"})) == first
        with pytest.raises(DuplicateEvent) as caught:
            journal.append(record(1, {"text": "another"}))
        assert caught.value.event_id == "gen_000001:1"
        assert journal.stats() == stats


@pytest.mark.parametrize(
    "unfit",
    [
        record(1, {"text": "\ud800"}),
        record(1, {"value": object()}),
        JournalRecord(event_id="", generation_id="g", attempt=1, written_at="t", payload={}),
        JournalRecord(event_id="e", generation_id="g", attempt=0, written_at="t", payload={}),
    ],
)
def test_a_record_that_could_not_be_read_back_is_refused_unwritten(
    tmp_path: Path, unfit: JournalRecord
) -> None:
    with Journal.open(tmp_path, "off") as journal:
        with pytest.raises(RecordRefused):
            journal.append(unfit)
        assert journal.stats()["bytes"] == journal.path.stat().st_size == 0


def test_an_unknown_event_is_named(tmp_path: Path) -> None:
    written(tmp_path, [record(1)])
    with Journal.open(tmp_path, "off") as journal, Journal.inspect(tmp_path) as view:
        for ask in (journal.read, journal.outcome, view.read, view.entry, view.outcome):
            with pytest.raises(EventUnknown) as caught:
                ask("gen_000009:1")
            assert caught.value.event_id == "gen_000009:1"
        with pytest.raises(EventUnknown):
            journal.mark_done("gen_000009:1", "replayed")


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
    with pytest.raises(JournalClosed):
        journal.append(record(2))
    with pytest.raises(JournalClosed):
        journal.read("gen_000001:1")


def test_a_second_opener_is_refused_with_the_owners_pid_until_the_owner_closes(
    tmp_path: Path,
) -> None:
    with Journal.open(tmp_path, "off"):
        with pytest.raises(JournalLocked) as caught, Journal.open(tmp_path, "off"):
            pass
        assert caught.value.pid == os.getpid()
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))


def test_an_absent_journal_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    directory = tmp_path / "never"
    with Journal.inspect(directory) as view:
        assert view.stats() == {"total": 0, "bytes": 0, "pending": 0}
        assert list(view.pending()) == []
    report = verify(directory)
    assert report.whole
    assert report.stats["total"] == 0
    assert not directory.exists()


def test_the_journal_is_for_its_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "journal"
    file = written(directory, [record(1)])
    assert file.stat().st_mode & 0o077 == 0
    assert directory.stat().st_mode & 0o077 == 0


def test_appends_and_marks_of_eight_threads_are_whole_and_every_snapshot_is_of_one_moment(
    tmp_path: Path,
) -> None:
    """Lines and marks have fixed lengths here, so total and pending determine the bytes."""
    with Journal.open(tmp_path / "sizes", "off") as sample:
        line = sample.append(record(0)).length + 1
        sample.mark_done("gen_000000:1", "refused")
        mark = sample.stats()["bytes"] - line
    watched_the_first_half = threading.Event()
    torn: list[str] = []
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Journal.open(tmp_path, "off") as journal, ThreadPoolExecutor(10) as pool:

            def work(thread: int) -> None:
                for number in range(thread * 50, thread * 50 + 50):
                    if number % 50 == 25:
                        assert watched_the_first_half.wait(30)
                    entry = journal.append(record(number))
                    assert json.loads(journal.read(entry.event_id))["event_id"] == entry.event_id
                    if number % 2:
                        journal.mark_done(entry.event_id, "refused")

            workers = [pool.submit(work, thread) for thread in range(8)]

            def watch() -> int:
                seen = set()
                while True:
                    ended = all(one.done() for one in workers)
                    stats = journal.stats()
                    done = stats["total"] - stats["pending"]
                    assert stats["bytes"] == stats["total"] * line + done * mark
                    with Journal.inspect(tmp_path, warn=torn.append) as view:
                        stats = view.stats()
                    done = stats["total"] - stats["pending"]
                    assert stats["bytes"] == stats["total"] * line + done * mark
                    seen.add(stats["bytes"])
                    watched_the_first_half.set()
                    if ended:
                        return len(seen)

            watcher = pool.submit(watch)
            for one in workers:
                one.result()
            assert watcher.result() > 1
            assert journal.stats()["total"] == 400
            assert journal.stats()["pending"] == 200
    finally:
        sys.setswitchinterval(switch_interval)
    report = verify(tmp_path)
    assert report.whole
    assert report.stats["total"] == 400
    assert report.torn_bytes == 0


def test_the_file_starts_anew_only_when_it_is_large_and_every_record_is_done(
    tmp_path: Path,
) -> None:
    with Journal.open(tmp_path, "off", keep_bytes=400) as journal:
        for number in range(4):
            journal.append(record(number))
        assert journal.stats()["bytes"] > 400
        for number in range(3):
            journal.mark_done(f"gen_{number:06d}:1", "replayed")
        journal.append(record(4))
        assert journal.stats()["total"] == 5

        journal.mark_done("gen_000003:1", "replayed")
        journal.mark_done("gen_000004:1", "replayed")
        assert journal.stats()["total"] == 5
        with Journal.inspect(tmp_path) as view:
            entry = journal.append(record(5))
            assert entry.offset == 0
            assert journal.stats() == {
                "total": 1,
                "bytes": journal.path.stat().st_size,
                "pending": 1,
            }
            assert json.loads(view.read("gen_000000:1"))["event_id"] == "gen_000000:1"
            assert view.stats()["total"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FILE_NAME, "journal.lock"])
    with Journal.open(tmp_path, "off") as journal:
        assert [one.event_id for one in journal.pending()] == ["gen_000005:1"]
