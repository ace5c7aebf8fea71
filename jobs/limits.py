"""What a process is allowed, and allows its threads."""

import gc
import resource
import sys

SWITCH_SECONDS = 0.0002
NEW_OBJECTS = 10_000
"""So many are made, and not let go of, before the youngest are searched for cycles."""


def raise_file_limit() -> None:
    """Raises the soft limit of open files to the hard one; a stream is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def share_interpreter() -> None:
    """Lets a thread that has been given work, or has done it, wait no longer than 0.2 ms for it.

    A commit waits for its thread twice, and readers wait for the commit; Python's own 5 ms are
    as long as all of a start.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def collect_rarely() -> None:
    """Leaves what a process has made so far out of all collections, and spaces those that come.

    Else a full one walks all that was imported, and every generation and stream stands still. Of
    700 objects, after which Python would look, one burst of heartbeats makes several times as many,
    and no cycles.
    """
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *older)
