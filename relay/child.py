"""Child processes that never outlive their parent, and whose output is shown line by line."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

STOP_SECONDS = 10.0
_BOUND = Path(__file__).with_name("bound.py")
_LAST_WORDS_SECONDS = 2.0

Show = Callable[[str, str], None]


class Child:
    """One process that was started; `stop()` it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: "_Output") -> None:
        self.name = name
        self._process = process
        self._output = output
        self._stopping = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs, negative for the signal that ended it."""
        return self._process.returncode

    @property
    def crashed(self) -> bool:
        """Whether it has ended though nobody asked it to."""
        return self._process.returncode is not None and not self._stopping

    async def wait(self) -> int:
        """Its exit status, once it has one; negative for the signal that ended it."""
        return await self._process.wait()

    async def stop(self, seconds: float = STOP_SECONDS, hasten_after: float | None = None) -> None:
        """Asks it to end (SIGTERM), and kills it after `seconds`; returns when it is gone.

        After `hasten_after` seconds it is asked a second time, which some take for "now".
        """
        if self._process.returncode is None:
            self._stopping = True
            hasten = seconds if hasten_after is None else min(hasten_after, seconds)
            if not await self._ends_within(hasten):
                await self._ends_within(seconds - hasten)
            while self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        await self._output.close()

    async def _ends_within(self, seconds: float) -> bool:
        if seconds > 0:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()
        return self._process.returncode is not None


async def start_child(
    name: str, command: Sequence[str], environment: Mapping[str, str], show: Show
) -> Child:
    """Starts a process; `show(name, line)` is called for each line that it prints.

    It has a session of its own, so that a Ctrl-C reaches the parent alone, which stops its children
    in order. A program that can't be run shows as one that ended at once, with its reason as its
    last line. Raises OSError.
    """
    ours, its = os.pipe()
    output = await _Output.open(ours, lambda line: show(name, line))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_BOUND), str(os.getpid())),
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
    except BaseException:
        output.abandon()
        raise
    finally:
        os.close(its)
    return Child(name, process, output)


class _Output:
    """The end of a pipe that is read line by line; a pipe of one's own can be closed at any time.

    Something that the child left behind may hold its output open for ever.
    """

    def __init__(self, transport: asyncio.BaseTransport, reading: asyncio.Task[None]) -> None:
        self._transport = transport
        self._reading = reading

    @classmethod
    async def open(cls, fd: int, show: Callable[[str], None]) -> Self:
        """Reads from this descriptor, and closes it in the end."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
        )
        return cls(transport, asyncio.create_task(_read(reader, show)))

    async def close(self) -> None:
        """Takes in what was written until now, and closes it."""
        await asyncio.wait({self._reading}, timeout=_LAST_WORDS_SECONDS)
        self.abandon()

    def abandon(self) -> None:
        """Closes it at once."""
        self._reading.cancel()
        self._transport.close()


async def _read(reader: asyncio.StreamReader, show: Callable[[str], None]) -> None:
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            # A line beyond the reader's limit is dropped; it must not block the child.
            continue
        if not line:
            return
        show(line.decode(errors="replace").rstrip())
