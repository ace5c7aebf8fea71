"""Run as a script: become another program that the kernel signals when the parent process dies.

Arguments: the signal's number, the parent's pid, a user's name or "-", the program, its arguments.
A script between, because a function run after the fork is unsafe once the parent has threads.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Change the user, bind to the parent's life, then become the program."""
    death_signal, parent, user, *argv = sys.argv[1:]
    if user != "-":
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        os.environ["HOME"] = "/"
    if sys.platform == "linux":
        # After the change of user: the kernel forgets the setting when credentials change.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):
        sys.exit("the parent is gone already")
    # The interpreter ignores SIGPIPE, and a shell SIGINT of what it puts in the background: a
    # program would inherit both.
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
