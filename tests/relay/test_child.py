"""Child processes: heard, ended, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from relay.child import Child, start_child
from tests.services.waiting import eventually, until

STUBBORN = """
import signal, sys, time
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1) or print("asked", flush=True))
print("up", flush=True)
while len(heard) < {times}:
    time.sleep(0.01)
"""


class Heard(list[tuple[str, str]]):
    """What children said, by name; `show` takes it."""

    def show(self, name: str, line: str) -> None:
        """Takes a line."""
        self.append((name, line))


async def start(code: str, heard: Heard) -> Child:
    """Start a child that runs this Python."""
    return await start_child("one", [sys.executable, "-c", code], os.environ, heard.show)


async def test_its_lines_are_heard_on_both_outputs() -> None:
    heard = Heard()
    child = await start(
        "import os; os.write(1, b'caf\\xc3\\xa9\\n'); os.write(2, b'\\xff\\n')", heard
    )
    assert await child.wait() == 0
    assert child.crashed
    await child.stop()
    assert heard == [("one", "café"), ("one", "\ufffd")]


async def test_a_line_without_end_does_not_block_it() -> None:
    heard = Heard()
    child = await start("print('x' * 3_000_000); print('after')", heard)
    assert await child.wait() == 0
    await child.stop()
    assert heard[-1] == ("one", "after")


async def test_it_is_asked_first_and_has_not_crashed_then() -> None:
    heard = Heard()
    child = await start(STUBBORN.format(times=1), heard)
    await eventually(lambda: bool(heard))
    await child.stop()
    assert (child.status, child.crashed) == (0, False)
    assert heard == [("one", "up"), ("one", "asked")]


async def test_it_is_asked_a_second_time() -> None:
    heard = Heard()
    child = await start(STUBBORN.format(times=2), heard)
    await eventually(lambda: bool(heard))
    await child.stop(10, hasten_after=0.2)
    assert child.status == 0


async def test_who_does_not_end_is_killed() -> None:
    heard = Heard()
    child = await start(STUBBORN.format(times=9), heard)
    await eventually(lambda: bool(heard))
    await child.stop(0.3, hasten_after=0.1)
    assert child.status == -signal.SIGKILL
    assert not psutil.pid_exists(child.pid)


async def test_what_it_leaves_behind_does_not_hold_up_the_stop() -> None:
    heard = Heard()
    code = (
        "import subprocess, sys; "
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(left.pid, flush=True)"
    )
    child = await start(code, heard)
    await child.wait()
    await eventually(lambda: bool(heard))
    try:
        async with asyncio.timeout(5):
            await child.stop()
    finally:
        os.kill(int(heard[0][1]), signal.SIGKILL)


async def test_a_program_that_is_not_there_says_so_and_ends() -> None:
    heard = Heard()
    child = await start_child("one", ["/no/such/program"], os.environ, heard.show)
    assert await child.wait() == 1
    await child.stop()
    assert heard == [("one", "/no/such/program can't be run: No such file or directory")]


async def test_a_ctrl_c_at_the_terminal_is_not_its_own() -> None:
    heard = Heard()
    child = await start("import os; print(os.getsid(0) == os.getpid())", heard)
    await child.wait()
    await child.stop()
    assert heard == [("one", "True")]


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = """
import asyncio, os, sys
from relay.child import start_child

async def main():
    sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    up = asyncio.Semaphore(0)
    show = lambda name, line: up.release()
    children = [await start_child(str(n), sleep, os.environ, show) for n in range(3)]
    for _ in children:
        # Until then a child that finds its parent gone would end by itself.
        await up.acquire()
    # As a thread pool would: the thread that forks is what the kernel takes for the parent.
    await asyncio.to_thread(print, *(child.pid for child in children), flush=True)
    await children[0].wait()

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
        parent.wait()
        until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    """Whether a process is there and not only waited for."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
