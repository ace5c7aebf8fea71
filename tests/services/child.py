"""A child process that never outlives the test run, also when the run itself is killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from tests.services.waiting import until

EXEC_BOUND = Path(__file__).with_name("exec_bound.py")


def bound(
    *argv: str, user: str | None = None, death_signal: signal.Signals = signal.SIGKILL
) -> list[str]:
    """The same program, its life bound to this process; as in Child."""
    launcher = [sys.executable, "-I", "-S", str(EXEC_BOUND)]
    return [*launcher, str(int(death_signal)), str(os.getpid()), user or "-", *argv]


class Child:
    """A running program, with its output in a file and its life in the test's hands.

    Start it from the main thread: on Linux the kernel ends it when the thread that made it dies.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        output: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start `argv`, both its outputs appended to the file `output`.

        `env` replaces the environment; `user` is who runs it; `death_signal` is what the kernel
        sends it when this process dies.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start a child from the main thread: it dies with its thread")
        self.argv = [os.fspath(word) for word in argv]
        self.output = output
        with output.open("ab") as sink:
            self._process = subprocess.Popen(
                bound(*self.argv, user=user, death_signal=death_signal),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; the program's own, for the launcher becomes the program."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def text(self) -> str:
        """Everything that it printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it in its tracks; returns once the kernel says that it stands still."""
        self.signal(signal.SIGSTOP)
        until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.signal(signal.SIGCONT)

    def wait(self, within: float = 10.0) -> int:
        """Wait for its end; the exit code, or subprocess.TimeoutExpired after `within` seconds."""
        return self._process.wait(within)

    def terminate(self, within: float = 10.0) -> int:
        """Ask it to end (SIGTERM), kill it if it has not `within` seconds; the exit code."""
        self.thaw()
        self.signal(signal.SIGTERM)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once (SIGKILL); the exit code."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
