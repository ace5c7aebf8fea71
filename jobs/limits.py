"""What a process is allowed, and allows its threads."""

import resource
import sys

SWITCH_SECONDS = 0.0002


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
