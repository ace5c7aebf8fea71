"""Transactions of SQLite that are told ahead and come to a halt at their commit, or fail there."""

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
from jobs.told_ahead import OneStatement

T = TypeVar("T")

LONGEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HeldCommits:
    """`reached` once one was told ahead and stands before its commit; `let_go` lets it on."""

    reached: threading.Event = field(default_factory=threading.Event)
    _on: threading.Event = field(default_factory=threading.Event)

    def let_go(self) -> None:
        """Lets it, and all later ones, be committed."""
        self._on.set()

    def wait(self) -> None:
        """Stands before the commit."""
        self.reached.set()
        assert self._on.wait(LONGEST_SECONDS), "nobody let the commit go"


Work = Callable[..., Any]


def is_claim(work: Work) -> bool:
    """Whether this is the transaction of a claim."""
    return isinstance(work, OneStatement) and "lease_ms" in (work.parameters or {})


def is_admission(work: Work) -> bool:
    """Whether this is the transaction that stores a generation."""
    return getattr(work, "__qualname__", "") == "Admission.run"


@contextmanager
def before_commits(
    patch: pytest.MonkeyPatch, act: Callable[[], None], of: Callable[[Work], bool] = is_claim
) -> Iterator[None]:
    """Does this before each commit of such work, once it was told, in the database's thread."""
    transact = ThreadWork.transact

    def acting(
        thread: ThreadWork,
        begin: str,
        work: Callable[[AsyncConnection], Awaitable[T]],
        before_commit: Callable[[T], None],
    ) -> T:
        def first(result: T) -> None:
            before_commit(result)
            act()

        return transact(thread, begin, work, first if of(work) else before_commit)

    with patch.context() as patched:
        patched.setattr(ThreadWork, "transact", acting)
        yield


@contextmanager
def held_commits(
    patch: pytest.MonkeyPatch, of: Callable[[Work], bool] = is_claim
) -> Iterator[HeldCommits]:
    """Such work waits before it is committed, once it was told, until it is let go."""
    held = HeldCommits()
    with before_commits(patch, held.wait, of):
        try:
            yield held
        finally:
            held.let_go()


def refuse() -> None:
    """Fails as a disk does."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise OperationalError("COMMIT", None, error)


def refusing_first() -> Callable[[], None]:
    """Fails so the first time it is called."""
    left = [refuse]

    def act() -> None:
        if left:
            left.pop()()

    return act
