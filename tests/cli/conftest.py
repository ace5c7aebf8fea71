"""A terminal for the tests: a folder, an environment, a database with rows in it."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from jobs.database import Database, migrate
from relay.cli import run
from tests.conformance.acts import Acts

T = TypeVar("T")

NOWHERE = "redis://127.0.0.1:1/0"
"""Where no Redis ever is."""


class Ran(msgspec.Struct, frozen=True):
    """What a command gave: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return msgspec.json.decode(self.out)

    def refused(self, *words: str, status: int = 1) -> bool:
        """Whether it ended with one line on stderr that holds these words, and nothing else."""
        line = self.err.removesuffix("\n")
        said = line.startswith("persona-relay: ") and "\n" not in line and not self.out
        return self.status == status and said and all(word in line for word in words)


class Terminal:
    """Runs commands in a folder of its own; `env` are the variables that they see."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        monkeypatch.chdir(folder)
        for name in os.environ:
            if name.startswith(("RELAY_", "OPENAI_")):
                monkeypatch.delenv(name)

    def set(self, **variables: str) -> None:
        """Sets environment variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def run(self, *words: str) -> Ran:
        """Runs a command to its end."""
        self._capfd.readouterr()
        status = run(words)
        return Ran(status, *self._capfd.readouterr())


@pytest.fixture
def bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Terminal:
    """A terminal in an empty folder, without a single variable of ours."""
    return Terminal(tmp_path, monkeypatch, capfd)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "relay.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def terminal(bare: Terminal, migrated: Path) -> Terminal:
    """A terminal with a migrated database, and with no Redis."""
    shutil.copy(migrated, bare.folder / "relay.db")
    bare.set(
        RELAY_DATABASE_URL=f"sqlite+aiosqlite:///{bare.folder}/relay.db",
        RELAY_REDIS_URL=NOWHERE,
        RELAY_JOURNAL_DIR=str(bare.folder / "journal"),
    )
    return bare


Does = Callable[[Callable[[Acts], Awaitable[T]]], T]


@pytest.fixture
def does(terminal: Terminal) -> Does[Any]:
    """Does something with the terminal's database: `does(lambda acts: acts.accept())`."""

    def done(work: Callable[[Acts], Awaitable[T]]) -> T:
        async def in_database() -> T:
            url = f"sqlite+aiosqlite:///{terminal.folder}/relay.db"
            async with Database.open(url) as database:
                acts = Acts(database)
                await acts.worker("wrk_1")
                return await work(acts)

        return asyncio.run(in_database())

    return done
