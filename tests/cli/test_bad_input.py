"""Bad input, swept over every command: one line that names it, a fitting status, no traceback."""

import os
import pty
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.journal import verify
from jobs.journal_index import TOLD_EVERY_BYTES
from tests.cli.conftest import Does, Terminal
from tests.cli.test_usage import ID, PROGRAM, ROOT, documented
from tests.jobs.journal_samples import record, written

NEEDED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("tokens", "create"): ("NAME",),
    ("tokens", "revoke"): ("prt_00000000",),
    ("generations", "show"): (ID,),
    ("generations", "tail"): (ID,),
    ("generations", "cancel"): (ID,),
    ("generations", "retry"): (ID,),
    ("journal", "show"): (f"{ID}:1",),
    ("personas", "export"): ("per_00000000000000000000000000", "-o", "out.zip"),
}
"""What each command can't do without; the others need nothing."""

PROCESSES = {("dev",), ("serve",), ("worker",), ("demo-model",)}
"""They go on for ever, or become another process: test_usage.py runs them as processes."""

MANY = {("personas", "export")}
"""These take any number of arguments."""


def whole(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command with what it needs."""
    return (*words, *NEEDED.get(words, ()))


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_every_command_refuses_an_option_that_it_does_not_have(
    words: tuple[str, ...], bare: Terminal
) -> None:
    assert bare.run(*whole(words), "--bogus").refused("--bogus", status=2)
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("words", [one for one in documented() if one not in MANY], ids=" ".join)
def test_every_command_refuses_an_argument_too_many(words: tuple[str, ...], bare: Terminal) -> None:
    assert bare.run(*whole(words), "surplus").refused("surplus", status=2)
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("words", [*NEEDED], ids=" ".join)
def test_every_command_names_what_it_needs(words: tuple[str, ...], bare: Terminal) -> None:
    assert bare.run(*words).refused("Missing", status=2)


@pytest.mark.parametrize(
    "words", [one for one in documented() if one not in PROCESSES], ids=" ".join
)
def test_every_command_names_a_variable_that_can_not_be_used(
    words: tuple[str, ...], terminal: Terminal
) -> None:
    terminal.set(RELAY_LEASE_SECONDS="soon")
    assert terminal.run(*whole(words)).refused("RELAY_LEASE_SECONDS", "float")


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("retention", "--older-than", "soon"), "--older-than", 2),
        (("retention", "--older-than", "-1d"), "--older-than", 2),
        (("personas", "backfill", "--per-second", "nan"), "--per-second", 2),
        (("personas", "backfill", "--per-second", "fast"), "--per-second", 2),
        (("personas", "export", ID), "--output", 2),
        (("personas", "export", "-o", "out.zip"), "ID", 2),
        (("personas", "export", ID, "--owner", "ann", "-o", "out.zip"), "not both", 2),
        (("personas", "export", "--owner", "nobody", "-o", "out.zip"), "nobody", 2),
        (("personas", "export", ID, "-o", "no/such/out.zip"), "No such file", 1),
        (("generations", "list", "--limit", "many"), "--limit", 2),
        (("generations", "list", "--kind", "Bad!"), "--kind", 2),
        (("generations", "list", "--kind", "unheard_of"), "--kind", 2),
        (("generations", "list", "--cursor", "no-cursor"), "cursor", 1),
        (("tokens", "create", "x", "--expires", "9999999999d"), "--expires", 2),
        (("tokens", "revoke", "prt_none"), "prt_none", 1),
        (("journal", "show", "none"), "none", 1),
        (("journal", "verify", "--dir", "nowhere"), "nowhere", 2),
        (("journal", "replay", "--dir", "relay.db"), "relay.db", 2),
    ],
)
def test_a_value_that_can_not_be_used_is_one_line(
    words: tuple[str, ...], said: str, status: int, terminal: Terminal
) -> None:
    written(terminal.folder / "journal", [record(1)])
    ran = terminal.run(*words)
    assert ran.refused(said, status=status), ran


@pytest.mark.parametrize("words", [("migrate",), ("retention",), ("personas", "backfill")])
def test_a_database_that_is_away_is_one_line(words: tuple[str, ...], terminal: Terminal) -> None:
    terminal.set(RELAY_DATABASE_URL="postgresql+asyncpg://nobody:secret@127.0.0.1:1/none")
    ran = terminal.run(*words)
    assert ran.refused("the database is not reachable"), ran
    assert "secret" not in ran.err


def test_ctrl_c_while_the_program_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["persona-relay"].partition(":")
    code = f"""
import os, signal, sys
# Whoever started the tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, *_):
        if name == "relay.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from {module} import {name}
{name}()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def shown_on_a_terminal(*words: str, folder: Path, **variables: str) -> str:
    """What a command writes to stderr when that is a terminal; its stdout is a pipe, and empty."""
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            [PROGRAM, *words],
            cwd=folder,
            env={**os.environ, **variables, "TERM": "xterm", "COLUMNS": "100"},
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        # A terminal whose last writer is gone is an error to read.
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                shown += chunk
        child.communicate(timeout=30)
        assert child.returncode == 0, shown
    finally:
        os.close(ours)
    return shown.decode()


def test_long_work_shows_a_bar_on_a_terminal_and_nothing_elsewhere(
    terminal: Terminal, does: Does[Any]
) -> None:
    folder = terminal.folder
    fresh = f"sqlite+aiosqlite:///{folder}/fresh.db"
    assert "migrating" in shown_on_a_terminal("migrate", folder=folder, RELAY_DATABASE_URL=fresh)
    terminal.set(RELAY_DATABASE_URL=f"sqlite+aiosqlite:///{folder}/other.db")
    assert terminal.run("migrate").err == ""
    written(folder / "journal", [record(1)])
    assert "reading" in shown_on_a_terminal("journal", "verify", folder=folder)
    assert terminal.run("journal", "verify").err == ""


def test_the_journals_reader_tells_how_far_it_is(tmp_path: Path) -> None:
    large = {"text": "x" * (TOLD_EVERY_BYTES // 2)}
    path = written(tmp_path, [record(number, large) for number in range(5)])
    told: list[tuple[int, int]] = []
    assert verify(tmp_path, lambda read, of: told.append((read, of))).whole
    size = path.stat().st_size
    assert [of for _, of in told] == [size] * len(told)
    assert len(told) == 2
    assert 0 < told[0][0] < told[1][0] < size


def test_a_replay_tells_how_many_records_it_tried(
    terminal: Terminal, does: Does[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(terminal.folder / "journal", [record(1), record(2)])
    told: list[tuple[int, int]] = []

    class Bar:
        def __enter__(self) -> Any:
            return lambda done, of: told.append((done, of))

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr("relay.commands.journal.progress_of", lambda _: Bar())
    terminal.run("journal", "replay")
    assert told == [(1, 2), (2, 2)]
