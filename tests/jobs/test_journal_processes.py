"""Between real processes: one owner, readers beside it, sudden death, and a disk at its limit."""

import signal
import sys
from pathlib import Path

import pytest

from jobs.journal import Journal, JournalLocked, verify
from tests.jobs.journal_samples import record
from tests.services.child import Child
from tests.services.waiting import until

ROOT = Path(__file__).parents[2]

APPEND_THEN_STAY = """
import signal, sys
from pathlib import Path
from jobs.journal import Journal
from tests.jobs.journal_samples import record

directory, fsync, first, count, characters = sys.argv[1:]
with Journal.open(Path(directory), fsync) as journal:
    for number in range(int(first), int(first) + int(count)):
        entry = journal.append(record(number, {"text": "é" * int(characters)}))
        print(entry.event_id, entry.offset, entry.length, flush=True)
    signal.pause()
"""

FILL_TO_THE_LIMIT = """
import errno, resource, sys
from pathlib import Path
from jobs.journal import Journal, JournalWriteFailed
from tests.jobs.journal_samples import record

with Journal.open(Path(sys.argv[1]), "always") as journal:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    number = 0
    try:
        while True:
            journal.append(record(number))
            number += 1
    except JournalWriteFailed as failure:
        assert failure.cause.errno == errno.EFBIG
    size = journal.path.stat().st_size
    assert 0 < size < 1000
    assert journal.stats() == {"total": number, "bytes": size, "pending": number}
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert journal.append(record(number)).offset == size
    print("refused after", number, "then accepted")
"""


def _python(code: str, output: Path, *arguments: object) -> Child:
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return Child(argv, output=output, cwd=ROOT)


def _wait_for_acknowledged(child: Child, count: int) -> None:
    until(lambda: len(_acknowledged(child)) >= count)


def _acknowledged(child: Child) -> list[list[str]]:
    # A line that the death cut off acknowledges nothing.
    return [line.split() for line in child.text().split("\n")[:-1]]


@pytest.mark.parametrize("fsync", ["always", "off"])
def test_everything_acknowledged_before_a_sigkill_is_there(tmp_path: Path, fsync: str) -> None:
    directory = tmp_path / "journal"
    acknowledged: list[list[str]] = []
    for life in range(3):
        output = tmp_path / f"life-{life}"
        first = life * 100_000
        with _python(APPEND_THEN_STAY, output, directory, fsync, first, 10_000, 20_000) as child:
            _wait_for_acknowledged(child, 20)
            assert child.kill() == -signal.SIGKILL
        # That an earlier life left a torn record is told on stderr, which is in the output too.
        acknowledged += [words for words in _acknowledged(child) if words[0].startswith("gen_")]
    assert 57 <= len(acknowledged) < 30_000
    report = verify(directory)
    assert report.whole
    assert len(acknowledged) <= report.stats["total"] <= len(acknowledged) + 3
    with Journal.open(directory, "off", warn=lambda _: None) as journal:
        content = journal.path.read_bytes()
        for event_id, offset, length in acknowledged:
            line = journal.read(event_id)
            assert line == content[int(offset) : int(offset) + int(length)]


def test_another_process_is_refused_with_the_owners_pid_until_the_owner_dies(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "journal"
    with _python(APPEND_THEN_STAY, tmp_path / "out", directory, "off", 0, 1, 1) as child:
        _wait_for_acknowledged(child, 1)
        with pytest.raises(JournalLocked) as caught, Journal.open(directory, "off"):
            pass
        assert caught.value.pid == child.pid
        child.kill()
    with Journal.open(directory, "off") as journal:
        assert journal.stats()["total"] == 1


def test_a_reader_beside_a_writing_process_sees_whole_records_of_one_moment(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "journal"
    with _python(APPEND_THEN_STAY, tmp_path / "out", directory, "always", 0, 300, 3000) as child:
        _wait_for_acknowledged(child, 1)
        with Journal.inspect(directory, warn=lambda _: None) as view:
            line = view.entry(record(0).event_id).length + 1
        seen: set[int] = set()
        while max(seen, default=0) < 300:
            with Journal.inspect(directory, warn=lambda _: None) as view:
                stats = view.stats()
                assert stats["bytes"] == stats["total"] * line
                assert len(list(view.pending())) == stats["total"] == stats["pending"]
                seen.add(stats["total"])
        assert len(seen) > 1


def test_a_file_at_its_size_limit_refuses_a_record_and_takes_it_later(tmp_path: Path) -> None:
    with _python(FILL_TO_THE_LIMIT, tmp_path / "out", tmp_path / "journal") as child:
        assert child.wait() == 0, child.text()
        assert "then accepted" in child.text()
    report = verify(tmp_path / "journal")
    assert report.whole
    assert report.torn_bytes == 0
