"""The console's way in: Ctrl-C while the program is being loaded ends it without a traceback."""

import sys


def main() -> None:
    """The command line as a process."""
    try:
        from relay.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
