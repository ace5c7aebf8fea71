"""How many sockets a process may hold: as many as the system allows it."""

import resource


def raise_file_limit() -> None:
    """Raises the soft limit of open files to the hard one; a stream is a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
