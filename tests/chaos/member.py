"""One process of the system under test, and its own links to the services it needs."""

import asyncio
import itertools
import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.services import Child, DelayingProxy, eventually

CENSUS = Path(__file__).with_name("census")

START_SECONDS = 60.0
"""A process imports a lot before it serves, and the machine may be busy with others."""

_numbers = itertools.count(1)
_WORKER_ID = re.compile(r"worker=(wrk_\w+)")


class Member:
    """A program that may be killed, stopped, frozen, cut off, and started again."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        port: int = 0,
        ready: str = "",
        redis_link: DelayingProxy | None = None,
        database_link: DelayingProxy | None = None,
    ) -> None:
        """`ready` is what it prints once it serves; without it, its port takes connections then.

        Links are proxies that only it uses.
        """
        self.name = name
        self.port = port
        self.redis_link = redis_link
        self.database_link = database_link
        self.starts = 0
        self._argv = list(argv)
        self._environment = dict(environment)
        self._directory = directory
        self._ready = ready
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """The process that runs now, or ran last."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child is not None and self._child.exit_code is None

    @property
    def output(self) -> str:
        """What the process that runs now has printed."""
        return self.child.text()

    @property
    def worker_ids(self) -> set[str]:
        """The worker ids it had, over all its starts; the database knows it by them."""
        texts = (path.read_text(errors="replace") for path in self._outputs())
        return {found for text in texts for found in _WORKER_ID.findall(text)}

    @property
    def ids_now(self) -> frozenset[str]:
        """The worker id of the process that runs now; none before it is ready, and of no worker."""
        return frozenset(_WORKER_ID.findall(self.output)[:1])

    async def start(self) -> None:
        """Start it, and return once it is ready."""
        self.launch()
        await self.ready()

    def launch(self) -> None:
        """Start it, ready or not."""
        self.starts += 1
        census = str(self._directory / f"{self.name}-census")
        self._child = Child(
            self._argv,
            output=self._directory / f"{self.name}-{self.starts}-{next(_numbers)}.log",
            env={**self._environment, "PYTHONPATH": str(CENSUS), "CHAOS_CENSUS": census},
            cwd=self._directory,
        )

    async def ready(self, within: float = START_SECONDS) -> None:
        """Return once it serves."""

        def is_ready() -> bool:
            if not self.running:
                raise RuntimeError(f"{self.name} ended at its start:\n{self.output}")
            return self._ready in self.output if self._ready else self._listens()

        await eventually(is_ready, within=within, every=0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> int:
        """SIGKILL; the pid that died of it."""
        pid = self.pid
        assert self.child.kill() == -signal.SIGKILL, f"{self.name} had ended before"
        return pid

    def ask_to_stop(self) -> float:
        """SIGTERM; the monotonic time of it."""
        assert self.running, f"{self.name} had ended before"
        self.child.signal(signal.SIGTERM)
        return time.monotonic()

    async def stopped(self, within: float) -> float:
        """Wait for its orderly end; the monotonic time of it."""
        await eventually(lambda: not self.running, within=within)
        assert self.child.exit_code == 0, f"{self.name} ended with {self.child.exit_code}"
        return time.monotonic()

    def freeze(self) -> None:
        """SIGSTOP; the kernel has confirmed it when this returns."""
        self.child.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.child.thaw()

    def files(self) -> int:
        """How many file descriptors it holds."""
        held: int = psutil.Process(self.pid).num_fds()
        return held

    def sockets(self, port: int) -> int:
        """How many of its connections have this port at either end, listening ones left out."""
        return sum(
            port in (one.laddr.port, one.raddr.port if one.raddr else 0)
            for one in psutil.Process(self.pid).net_connections("tcp")
            if one.status != psutil.CONN_LISTEN
        )

    async def tasks(self) -> Counter[str]:
        """Its asyncio tasks, by the name of their coroutine."""
        answer = self._directory / f"{self.name}-census.{self.pid}"
        answer.unlink(missing_ok=True)
        self.child.signal(signal.SIGUSR1)
        await eventually(answer.exists)
        counted = await asyncio.to_thread(answer.read_text, encoding="utf-8")
        return Counter(json.loads(counted))

    def last_words(self, lines: int = 40) -> str:
        """The end of all that it printed, for a failure's report."""
        texts = [path.read_text(errors="replace") for path in self._outputs()]
        told = "".join(texts).splitlines()[-lines:]
        return f"--- {self.name} ---\n" + "\n".join(told)

    def _outputs(self) -> list[Path]:
        found = self._directory.glob(f"{self.name}-*.log")
        return sorted(found, key=lambda path: int(path.stem.rsplit("-", 1)[1]))
