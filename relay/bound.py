"""Run as a script: becomes another program, which on Linux the kernel kills when its parent dies.

Arguments: the parent's process id, the program, its arguments. A script between the two, because a
function run after a fork is unsafe once the parent has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Binds itself to the parent's life, then becomes the program."""
    parent, *argv = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # It may have died before the kernel was told.
    if os.getppid() != int(parent):
        sys.exit("the parent is gone already")
    # The interpreter ignores SIGPIPE, and a program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]} can't be run: {error.strerror}")


if __name__ == "__main__":
    main()
