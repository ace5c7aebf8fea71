"""Claims of SQLite that come to a halt at their commit, or fail there."""

import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.sqlite_thread import ThreadWork

T = TypeVar("T")

LONGEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HeldCommits:
    """`reached` once a claim was told ahead and stands before its commit; `let_go` lets it on."""

    reached: threading.Event = field(default_factory=threading.Event)
    _on: threading.Event = field(default_factory=threading.Event)

    def let_go(self) -> None:
        """Lets it, and all later ones, be committed."""
        self._on.set()

    def wait(self) -> None:
        """Stands before the commit."""
        self.reached.set()
        assert self._on.wait(LONGEST_SECONDS), "nobody let the commit go"


def is_told_ahead(work: Callable[..., Any]) -> bool:
    """Whether this is the transaction of a claim that is told ahead."""
    return work.__qualname__.startswith("_telling.")


@contextmanager
def before_commits(patch: pytest.MonkeyPatch, act: Callable[[], None]) -> Iterator[None]:
    """Does this before each commit of a claim that was told ahead, in the database's thread."""
    transact = ThreadWork.transact

    def acting(
        thread: ThreadWork,
        begin: str,
        work: Callable[[AsyncConnection], Awaitable[T]],
        before_commit: Callable[[], None],
    ) -> T:
        def first() -> None:
            before_commit()
            act()

        return transact(thread, begin, work, first if is_told_ahead(work) else before_commit)

    with patch.context() as patched:
        patched.setattr(ThreadWork, "transact", acting)
        yield


@contextmanager
def held_commits(patch: pytest.MonkeyPatch) -> Iterator[HeldCommits]:
    """Claims that were told ahead wait before they are committed, until they are let go."""
    held = HeldCommits()
    with before_commits(patch, held.wait):
        try:
            yield held
        finally:
            held.let_go()


def refuse() -> None:
    """Fails as a disk does."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise OperationalError("COMMIT", None, error)
