"""Every command: it is there, explains itself, and says in one line what is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import NOWHERE, Ran, Terminal
from tests.jobs.journal_samples import record, written

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("persona-relay")

ID = "gen_00000000000000000000000000"
ON_DATABASE: tuple[tuple[str, ...], ...] = (
    ("tokens", "create", "NAME"),
    ("tokens", "list"),
    ("tokens", "revoke", "prt_00000000"),
    ("generations", "list"),
    ("generations", "show", ID),
    ("generations", "tail", ID),
    ("generations", "cancel", ID),
    ("generations", "retry", ID),
    ("personas", "export", "per_00000000000000000000000000", "-o", "out.zip"),
)


def documented() -> list[tuple[str, ...]]:
    """The commands of protocol §2, each as its words."""
    text = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    section = text.partition("## 2. Commands")[2].partition("\n## ")[0]
    commands: list[tuple[str, ...]] = []
    for row in re.findall(r"^\| (`persona-relay .*?) \|", section, flags=re.MULTILINE):
        cells = re.findall(r"`([^`]+)`", row)
        first = _words(cells[0])[1:]
        commands.append(first)
        # `tokens create` · `list` · `revoke`: the later ones stand in the first one's group.
        commands += [(first[0], *_words(cell)[:1]) for cell in cells[1:]]
    return commands


def _words(cell: str) -> tuple[str, ...]:
    words = []
    for word in cell.split():
        if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
            break
        words.append(word)
    return tuple(words)


def test_the_protocol_names_the_commands_that_these_tests_know() -> None:
    assert len(documented()) == 21
    assert ("journal", "replay") in documented()
    assert ("demo-model",) in documented()


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_every_documented_command_has_a_help_page(words: tuple[str, ...], bare: Terminal) -> None:
    ran = bare.run(*words, "--help")
    assert ran.status == 0, ran.err
    assert ran.out.startswith(f"Usage: persona-relay {' '.join(words)} ")
    assert ran.err == ""


@pytest.mark.parametrize("words", [(), ("tokens",), ("generations",), ("journal",), ("personas",)])
def test_a_group_without_a_command_shows_its_help_and_fails(
    words: tuple[str, ...], bare: Terminal
) -> None:
    ran = bare.run(*words)
    assert ran.status == 2
    assert "Commands:" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "nothing"),
        (("tokens", "create"), "NAME"),
        (("tokens", "create", "x", "--bogus"), "--bogus"),
        (("tokens", "create", ""), "NAME"),
        (("tokens", "create", "x" * 201), "NAME"),
        (("tokens", "create", "x", "--owner", " "), "--owner"),
        (("tokens", "create", "x", "--scope", "write"), "write"),
        (("tokens", "create", "x", "--expires", "soon"), "soon"),
        (("generations", "list", "--limit", "0"), "--limit"),
        (("generations", "list", "--state", "done"), "--state"),
        (("generations", "retry", ID, "--on-active", "wait"), "--on-active"),
        (("dev", "--port", "65536"), "--port"),
        (("personas", "export", "per_1"), "--output"),
        (("personas", "export", "per_1", "-o", "."), "--output"),
        (("personas", "export", "per_1", "-o", "/tmp"), "is a directory"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_status_2(
    words: tuple[str, ...], said: str, terminal: Terminal
) -> None:
    ran = terminal.run(*words)
    assert ran.refused(said, status=2), ran


@pytest.mark.parametrize("words", ON_DATABASE, ids=" ".join)
def test_without_a_database_it_says_so_and_makes_none(
    words: tuple[str, ...], bare: Terminal
) -> None:
    bare.set(RELAY_REDIS_URL=NOWHERE)
    ran = bare.run(*words)
    assert ran.refused("no database at .persona-relay/relay.db", "persona-relay migrate"), ran
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("words", ON_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_one_line(words: tuple[str, ...], bare: Terminal) -> None:
    bare.set(RELAY_REDIS_URL=NOWHERE)
    bare.set(RELAY_DATABASE_URL="postgresql+asyncpg://nobody:secret@127.0.0.1:1/none")
    ran = bare.run(*words)
    assert ran.refused("the database is not reachable"), ran


@pytest.mark.parametrize("words", ON_DATABASE, ids=" ".join)
def test_a_database_without_the_schema_is_one_line(words: tuple[str, ...], bare: Terminal) -> None:
    bare.set(RELAY_REDIS_URL=NOWHERE)
    folder = bare.folder / ".persona-relay"
    folder.mkdir()
    (folder / "relay.db").touch()
    ran = bare.run(*words)
    assert ran.refused("schema", "persona-relay migrate"), ran


@pytest.mark.parametrize("words", [(*words,) for words in ON_DATABASE if words[-1] == ID])
def test_an_unknown_generation_is_one_line(words: tuple[str, ...], terminal: Terminal) -> None:
    ran = terminal.run(*words)
    assert ran.refused(ID, "was not found"), ran


@pytest.mark.parametrize("id", ["gen_x", "", "é", "gen_00000000000000000000000000'", "a b"])
@pytest.mark.parametrize("command", ["show", "tail", "cancel", "retry"])
def test_what_is_no_id_was_not_found(command: str, id: str, terminal: Terminal) -> None:
    ran = terminal.run("generations", command, id)
    assert ran.refused("was not found"), ran


@pytest.mark.parametrize(
    "words", [("generations", "show"), ("tokens", "revoke"), ("generations", "list", "--owner")]
)
def test_bytes_that_are_no_text_are_refused(words: tuple[str, ...], terminal: Terminal) -> None:
    ran = terminal.run(*words, "\udcff")
    assert ran.refused("UTF-8"), ran


@pytest.mark.parametrize(
    ("words", "variable", "value"),
    [
        (("serve",), "RELAY_HEARTBEAT_SECONDS", "often"),
        (("serve",), "RELAY_SECRET", ""),
        (("serve",), "RELAY_DATABASE_URL", "mysql://x"),
        (("serve",), "RELAY_REDIS_URL", "http://x"),
        (("worker",), "RELAY_LEASE_SECONDS", "-1"),
        (("worker",), "RELAY_REDIS_URL", "http://x"),
        (("worker",), "OPENAI_BASE_URL", "nowhere"),
        (("worker",), "RELAY_DATABASE_URL", "postgresql://h/db?channel_binding=require"),
        (("worker",), "RELAY_JOURNAL_DIR", "/dev/null"),
        (("serve",), "OTEL_TRACES_EXPORTER", "zipkin"),
        (("worker",), "OTEL_TRACES_EXPORTER", "zipkin"),
        (("worker",), "RELAY_METRICS_ADDRESS", "9464"),
        (("serve",), "RELAY_KINDS", "no_such_app:KINDS"),
        (("worker",), "RELAY_KINDS", "no_such_app:KINDS"),
        (("migrate",), "RELAY_DATABASE_URL", "x"),
        (("dev", "--port", "0"), "RELAY_MAX_JOBS", "0"),
        (("dev", "--port", "0"), "RELAY_AUTH", "maybe"),
        (("dev", "--port", "0"), "RELAY_DATABASE_URL", "mysql://x"),
        (("tokens", "list"), "RELAY_DATABASE_URL", "sqlite://"),
        (("tokens", "list"), "RELAY_DATABASE_URL", "sqlite:///x.db?mode=ro"),
        (("generations", "list"), "RELAY_LEASE_SECONDS", "soon"),
        (("doctor",), "RELAY_REDIS_URL", "x"),
        (("journal", "stats"), "RELAY_JOURNAL_FSYNC", "sometimes"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_one_line_that_names_it(
    words: tuple[str, ...], variable: str, value: str, tmp_path: Path
) -> None:
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith("RELAY_")},
        "RELAY_SECRET": "a secret",
        "OPENAI_API_KEY": "a key",
        variable: value,
    }
    done = subprocess.run(
        [PROGRAM, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1, done
    line = done.stderr.removesuffix("\n")
    assert "\n" not in line, done.stderr
    assert variable in line
    assert done.stdout == ""


def test_the_worker_is_not_looked_for_in_the_folder_where_it_is_started(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/__main__.py").write_text("print('hijacked')")
    env = {**os.environ, "RELAY_LEASE_SECONDS": "none"}
    done = subprocess.run(
        [PROGRAM, "worker"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert "RELAY_LEASE_SECONDS" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", ["tokens list", "tokens list --json", "journal show x:1", "--help"]
)
def test_a_reader_that_goes_away_is_no_error_to_speak_of(words: str, terminal: Terminal) -> None:
    written(terminal.folder / "journal", [record(1)])
    words = words.replace("x:1", record(1).event_id)
    line = f"{PROGRAM} {words} | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""


def test_over_postgresql_it_is_the_same(bare: Terminal, postgres_url: str) -> None:
    bare.set(RELAY_DATABASE_URL=postgres_url, RELAY_REDIS_URL=NOWHERE)
    assert bare.run("generations", "list").refused("schema", "persona-relay migrate")
    assert bare.run("migrate") == Ran(0, "", "")
    assert bare.run("migrate") == Ran(0, "", "")
    made = bare.run("tokens", "create", "x", "--json").json
    assert bare.run("tokens", "revoke", made["prefix"]).status == 0
    assert bare.run("generations", "list", "--json").json == {"data": [], "next_cursor": None}
    assert bare.run("generations", "retry", ID).refused("was not found")
    assert bare.run("personas", "export", "per_x", "-o", "-").refused("was not found")
    checks = {one["check"]: one for one in bare.run("doctor", "--json").json["checks"]}
    for name in ("database", "schema", "database clock"):
        assert checks[name]["verdict"] == "ok"


def test_help_imports_nothing_that_takes_time(tmp_path: Path) -> None:
    code = (
        "import sys; from relay.cli import run; run(['--help']); "
        "heavy = {'sqlalchemy', 'redis', 'starlette', 'alembic', 'rich', 'uvicorn', 'openai'}; "
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=30
    )
    assert done.stdout.endswith("heavy: []\n"), done
