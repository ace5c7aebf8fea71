"""A bar on stderr for work that lasts: on a terminal only, and gone when the work is over."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]


Told = Callable[[int, int], None]


@contextmanager
def progress_of(what: str) -> Iterator[Told]:
    """Shows how far the block's work is: call what it gives with how much is done, and of how much.

    For work that finds out on its way how much it is.
    """
    with _bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """Shows how far the block's work is: call what it gives with how many more of `total` are done.

    None where nobody knows how many there are. Into a file or a pipe nothing is written.
    """
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
