"""The journal from the command line: read beside its owner, replayed under the fence."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jobs.finish import journal_record
from jobs.journal import Journal
from jobs.timeline import pack
from tests.cli.conftest import NOWHERE, Does, Terminal
from tests.conformance.acts import Acts, outcome
from tests.jobs.journal_samples import record, written


@pytest.fixture
def folder(terminal: Terminal) -> Path:
    """Where the terminal's workers keep their journals."""
    return terminal.folder / "journal"


def test_no_journal_is_whole_and_none_is_made(terminal: Terminal, folder: Path) -> None:
    for words in (("verify",), ("stats",), ("replay",)):
        ran = terminal.run("journal", *words)
        assert ran.status == 0
        assert f"no journal in {folder}" in ran.err
    assert not folder.exists()


def test_a_whole_journal_is_verified_with_status_0(terminal: Terminal, folder: Path) -> None:
    path = written(folder, [record(1), record(2)])
    ran = terminal.run("journal", "verify")
    assert (ran.status, ran.out) == (0, f"{path} is whole: 2 records, 2 pending\n")


def test_a_torn_last_record_is_whole(terminal: Terminal, folder: Path) -> None:
    path = written(folder, [record(1)])
    with path.open("ab") as file:
        file.write(b'{"crc')
    ran = terminal.run("journal", "verify")
    assert ran.status == 0
    assert "a torn last record of 5 bytes" in ran.out


def test_damage_is_one_line_with_the_offset_and_status_1(terminal: Terminal, folder: Path) -> None:
    path = written(folder, [record(1), record(2), record(3)])
    data = bytearray(path.read_bytes())
    offset = len(data) // 3
    data[offset + 30] ^= 1
    path.write_bytes(data)
    ran = terminal.run("journal", "verify")
    assert ran.refused(f"damaged at byte {offset}")
    found = terminal.run("journal", "verify", "--json")
    assert found.status == 1
    assert found.json["whole"] is False
    assert found.json["journals"][0]["damaged_at"] == offset
    for words in (("stats",), ("show", "gen_000001:1")):
        assert terminal.run("journal", *words).refused(f"damaged at byte {offset}")


def test_the_journals_of_all_workers_of_the_machine_are_looked_at(
    terminal: Terminal, folder: Path
) -> None:
    written(folder, [record(1)])
    written(folder / "2", [record(2), record(3)])
    written(folder / "10", [record(4)])
    written(folder / "else", [record(5)])
    assert terminal.run("journal", "stats", "--json").json["total"] == 4
    lines = terminal.run("journal", "stats").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        str(folder / "journal.jsonl"),
        str(folder / "2/journal.jsonl"),
        str(folder / "10/journal.jsonl"),
        "all",
    ]
    assert terminal.run("journal", "show", "gen_000004:1").status == 0
    assert len(terminal.run("journal", "verify").out.splitlines()) == 3


def test_stats_are_the_three_counts(terminal: Terminal, folder: Path) -> None:
    path = written(folder, [record(1), record(2)])
    with Journal.open(folder) as journal:
        journal.mark_done("gen_000001:1", "replayed")
        # Beside its owner.
        counts = terminal.run("journal", "stats", "--json").json
    assert counts == {"total": 2, "bytes": path.stat().st_size, "pending": 1}


def test_a_record_is_shown_as_exactly_its_bytes(terminal: Terminal, folder: Path) -> None:
    path = written(folder, [record(1), record(2, {"text": "ChidÉ 🎉"}), record(3)])
    ran = terminal.run("journal", "show", "gen_000002:1")
    assert ran.out.encode() == path.read_bytes().splitlines(keepends=True)[1]
    assert terminal.run("journal", "show", "gen_9:1").refused("no record of gen_9:1")


def test_another_directory_can_be_named(terminal: Terminal, tmp_path: Path) -> None:
    written(tmp_path / "copy", [record(1)])
    ran = terminal.run("journal", "stats", "--json", "--dir", str(tmp_path / "copy"))
    assert ran.json["total"] == 1


@pytest.mark.parametrize("words", [("verify",), ("stats",), ("show", "x:1"), ("replay",)])
def test_a_directory_that_is_named_and_not_there_is_one_line(
    words: tuple[str, ...], terminal: Terminal
) -> None:
    ran = terminal.run("journal", *words, "--dir", "mistyped")
    assert ran.refused("--dir", "mistyped", status=2), ran


def test_what_can_not_be_read_is_one_line(terminal: Terminal, folder: Path) -> None:
    (folder / "journal.jsonl").mkdir(parents=True)
    for words in (("verify",), ("stats",), ("replay",)):
        assert terminal.run("journal", *words).refused("journal.jsonl", "directory"), words


def test_a_replay_commits_once_and_under_the_fence(
    terminal: Terminal, folder: Path, does: Does[Any]
) -> None:
    end = _ending(outcome("kept"))

    async def stored(acts: Acts) -> tuple[str, str]:
        mine, taken = [(await acts.accept()).generation.id for _ in range(2)]
        await acts.claimed(mine)
        await acts.claimed(taken)
        await acts.silence("wrk_1", 60)
        await acts.worker("wrk_2")
        await acts.claimed(taken, 1, "wrk_2")
        return mine, taken

    mine, taken = does(stored)
    written(folder, [journal_record(mine, 1, end)])
    written(folder / "2", [journal_record(taken, 1, end)])
    ran = terminal.run("journal", "replay")
    assert (ran.status, ran.out) == (0, "1 replayed, 1 refused, 0 left\n")
    assert terminal.run("generations", "show", mine, "--json").json["output"]["text"] == "kept"
    assert terminal.run("generations", "show", taken, "--json").json["state"] == "running"
    again = terminal.run("journal", "replay", "--json")
    assert again.json == {"replayed": 0, "refused": 0, "left": 0}


def _ending(end: Any) -> Any:
    return msgspec.structs.replace(end, timeline=pack([]), last_seq=1, last_offset=0)


def test_beside_a_live_worker_a_replay_says_who_holds_it_and_replays_the_rest(
    terminal: Terminal, folder: Path, does: Does[Any]
) -> None:
    async def claimed(acts: Acts) -> str:
        id = (await acts.accept()).generation.id
        await acts.claimed(id)
        return id

    id = does(claimed)
    written(folder, [record(1)])
    written(folder / "2", [journal_record(id, 1, _ending(outcome("kept")))])
    with ExitStack() as held:
        held.enter_context(Journal.open(folder))
        ran = terminal.run("journal", "replay")
    assert (ran.status, ran.out) == (1, "1 replayed, 0 refused, 0 left\n")
    (line,) = [one for one in ran.err.splitlines() if not one.startswith("[")]
    assert line.startswith(f"persona-relay: the journal in {folder} is in use by process")


def test_a_replay_without_the_database_leaves_all_pending(terminal: Terminal, folder: Path) -> None:
    end = _ending(outcome("kept"))
    written(folder, [journal_record("gen_000001", 1, end), journal_record("gen_000002", 1, end)])
    terminal.set(
        RELAY_REDIS_URL=NOWHERE, RELAY_DATABASE_URL="postgresql+asyncpg://x@127.0.0.1:1/none"
    )
    ran = terminal.run("journal", "replay")
    assert ran.status == 1
    assert ran.out == "0 replayed, 0 refused, 2 left\n"
    (line,) = [one for one in ran.err.splitlines() if not one.startswith("[")]
    assert "gen_000001:1 stays pending" in line


def test_a_record_of_another_make_stays_pending_and_is_named(
    terminal: Terminal, folder: Path
) -> None:
    written(folder, [record(1, {"foreign": True})])
    ran = terminal.run("journal", "replay")
    assert ran.status == 1
    assert "gen_000001:1 stays pending" in ran.err
    with Journal.inspect(folder) as view:
        assert view.stats()["pending"] == 1
