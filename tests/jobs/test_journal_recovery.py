"""A torn tail is skipped and cut off; other damage stops loudly, with its line's offset."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.journal import Journal, JournalDamaged, verify
from jobs.journal_index import Index
from jobs.journal_record import DoneMark, encode_line
from jobs.journal_view import FILE_NAME
from tests.jobs.journal_samples import payloads, record, written


def test_a_file_cut_at_every_byte_of_its_last_record_keeps_the_whole_ones(tmp_path: Path) -> None:
    file = written(tmp_path, [record(n, {"text": "Chidé 🎉"}) for n in range(3)])
    content = file.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(content)):
        file.write_bytes(content[:cut])
        said: list[str] = []
        with Journal.open(tmp_path, "off", warn=said.append) as journal:
            assert [one.event_id for one in journal.pending()] == ["gen_000000:1", "gen_000001:1"]
            assert journal.stats() == {"total": 2, "bytes": last, "pending": 2}
            assert len(said) == (1 if cut > last else 0)
            assert file.read_bytes() == content[:cut]
            entry = journal.append(record(2, {"text": "Chidé 🎉"}))
            assert entry.offset == last
        assert file.read_bytes() == content


def test_a_torn_record_is_one_line_on_stderr_and_whole_to_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, [record(1), record(2)])
    content = file.read_bytes()
    last = content.index(b"\n") + 1
    file.write_bytes(content[:-1])
    with Journal.open(tmp_path, "off"):
        pass
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"byte {last} " in said
    with Journal.inspect(tmp_path) as view:
        assert view.stats()["total"] == 1
    assert capsys.readouterr().err == said
    report = verify(tmp_path)
    assert report.whole
    assert report.torn_bytes == len(content) - 1 - last
    assert capsys.readouterr().err == ""
    assert file.read_bytes() == content[:-1]


def test_a_done_mark_too_cuts_the_torn_record_off_first(tmp_path: Path) -> None:
    file = written(tmp_path, [record(1), record(2)])
    os.truncate(file, file.stat().st_size - 5)
    with Journal.open(tmp_path, "off", warn=lambda _: None) as journal:
        journal.mark_done("gen_000001:1", "refused")
    with Journal.open(tmp_path, "off") as journal:
        assert journal.stats()["total"] == 1
        assert journal.outcome("gen_000001:1") == "refused"


@settings(max_examples=300, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=4), st.data())
def test_a_changed_byte_is_damage_at_the_offset_of_its_line(
    given_payloads: list[dict[str, object]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = written(directory, [record(n, one) for n, one in enumerate(given_payloads)])
        content = bytearray(file.read_bytes())
        # The last newline is left out: without it the record before it counts as torn.
        place = data.draw(st.integers(0, len(content) - 2))
        content[place] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        offset = bytes(file.read_bytes()).rfind(b"\n", 0, place) + 1
        with pytest.raises(JournalDamaged) as caught, Journal.open(directory, "off"):
            pass
        assert caught.value.offset == offset
        assert caught.value.path == file
        report = verify(directory)
        assert not report.whole
        assert report.damage is not None
        assert report.damage.offset == offset
        assert report.stats["bytes"] == offset
        with pytest.raises(JournalDamaged), Journal.inspect(directory):
            pass
        assert file.read_bytes() == content


def test_lines_that_no_append_leaves_behind_are_damage_at_their_offset(tmp_path: Path) -> None:
    first, mark = encode_line(record(1)), encode_line(DoneMark(event_id="e", outcome="replayed"))
    done = encode_line(DoneMark(event_id="gen_000001:1", outcome="replayed"))
    cases = {
        "a second record": first,
        "which has no record": mark,
        "a second done mark": done + done,
        "checksum": b"\n",
        "the checksum": b'{"kind":"commit"}\n',
        "the checksum does": b"\x00" * 200 + b"\n",
        "the checksum does not": b"\xff\xfe\n",
    }
    file = tmp_path / FILE_NAME
    for reason, line in cases.items():
        file.write_bytes(first + line + encode_line(record(2)))
        report = verify(tmp_path)
        assert report.damage is not None
        assert report.damage.offset == len(first) + (len(done) if line == done + done else 0)
        assert reason in report.damage.reason


def test_damage_frees_the_lock_and_is_found_before_a_torn_tail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, [record(1), record(2)])
    good = file.read_bytes()
    file.write_bytes(b"x" + good[1:-3])
    with pytest.raises(JournalDamaged), Journal.open(tmp_path, "off"):
        pass
    assert capsys.readouterr().err == ""
    file.write_bytes(good)
    with Journal.open(tmp_path, "off") as journal:
        assert journal.stats()["total"] == 2


def test_a_record_that_rots_while_the_journal_is_open_is_damage_when_read(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "off") as journal:
        journal.append(record(1))
        second = journal.append(record(2))
        content = bytearray(journal.path.read_bytes())
        content[second.offset + second.length - 4] ^= 1
        with Journal.inspect(tmp_path) as view:
            journal.path.write_bytes(content)
            for reader in (journal, view):
                reader.read("gen_000001:1")
                with pytest.raises(JournalDamaged) as caught:
                    reader.read("gen_000002:1")
                assert caught.value.offset == second.offset
                with pytest.raises(JournalDamaged):
                    list(reader.pending())


def test_a_reader_beside_an_owner_who_cuts_a_torn_record_off_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, [record(n) for n in range(3)])
    good = file.read_bytes()
    file.write_bytes(good[:-9] + good)
    read_from, seen = Index.read_from, []

    def read_while_the_owner_mends(
        index: Index, source: BinaryIO, path: Path, told: Callable[[int], None]
    ) -> None:
        try:
            read_from(index, source, path, told)
        except JournalDamaged as damage:
            seen.append(damage)
            file.write_bytes(good)
            raise

    monkeypatch.setattr(Index, "read_from", read_while_the_owner_mends)
    with Journal.inspect(tmp_path) as view:
        assert view.stats()["total"] == 3
    assert len(seen) == 1


def test_the_rest_of_a_line_that_its_writer_adds_meanwhile_is_not_taken_for_a_line(
    tmp_path: Path,
) -> None:
    whole, torn = encode_line(record(0)), encode_line(record(1))

    class Growing(io.BytesIO):
        def __iter__(self) -> Iterator[bytes]:
            yield from (whole, torn[:9], torn[9:])

    index = Index()
    index.read_from(Growing(), tmp_path)
    assert (index.end, index.torn_bytes) == (len(whole), 9)
    assert index.stats() == {"total": 1, "bytes": len(whole), "pending": 1}
