"""The whole system as processes, with a load on it, and what each of them costs meanwhile."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.services import RedisServer, free_port
from tests.services.redis_server import redis_binary


@dataclass(slots=True)
class System:
    """The processes by name, the relay's port and its database's file."""

    port: int
    database: Path
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time that each has used."""
        times = {name: one.cpu_times() for name, one in self.processes.items()}
        return {name: one.user + one.system for name, one in times.items()}

    def memory(self) -> dict[str, float]:
        """KiB of memory that each holds alone."""
        return {name: one.memory_full_info().uss / 1024 for name, one in self.processes.items()}


class Reader(asyncio.Protocol):
    """One request and what was counted of its answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self.status = 0
        self.location = b""
        self.tokens = 0
        self.ended = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Counts (asyncio.Protocol)."""
        if not self.status:
            self.status = int(data[9:12])
            self.location = data.partition(b"location: ")[2].partition(b"\r\n")[0]
        self.tokens += data.count(b"~")
        self.ended |= b"event: completed" in self._tail + data
        self._tail = data[-20:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes it (asyncio.Protocol)."""
        self.lost = True


def chat(model: str) -> bytes:
    """The request that starts a generation and streams it."""
    body = json.dumps({"kind": "chat", "input": "hi", "model": model}).encode()
    return (
        b"POST /v1/generations?stream=true HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


@asynccontextmanager
async def reading(system: System, requests: list[bytes]) -> AsyncIterator[list[Reader]]:
    """These requests, all under way."""
    loop = asyncio.get_running_loop()
    readers = [Reader(request) for request in requests]
    try:
        for reader in readers:
            await loop.create_connection(lambda one=reader: one, "127.0.0.1", system.port)  # type: ignore[misc]
        yield readers
    finally:
        for reader in readers:
            reader.transport.abort()


@contextmanager
def system(**variables: str) -> Iterator[System]:
    """Redis, an upstream, one worker and one relay, ended with the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        binary = redis_binary()
        assert binary is not None, "there is no Valkey and no Redis"
        server = RedisServer(binary, persistence=True)
        stack.callback(server.close)
        upstream, port = free_port(), free_port()
        database = directory / "relay.db"
        environment = {
            **os.environ,
            "RELAY_DATABASE_URL": f"sqlite+aiosqlite:///{database}",
            "RELAY_REDIS_URL": server.url,
            "RELAY_JOURNAL_DIR": f"{directory}/journal",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
            "OPENAI_API_KEY": "none",
            "RELAY_AUTH": "off",
            "RELAY_MODEL": "steady-10-0",
            "RELAY_MODELS": "*",
            "RELAY_MAX_JOBS": "4000",
            "RELAY_OWNER_STREAMS": "0",
            "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0",
            "RELAY_TOTAL_GENERATIONS_PER_MINUTE": "0",
            **variables,
        }

        def started(*command: str) -> psutil.Process:
            process = subprocess.Popen(
                command, env=environment, cwd=directory, stderr=subprocess.DEVNULL
            )
            stack.callback(_end, process)
            return psutil.Process(process.pid)

        relay = (sys.executable, "-m", "relay.cli")
        environment["PYTHONPATH"] = os.getcwd()
        subprocess.run((*relay, "migrate"), env=environment, cwd=directory, check=True)
        started(sys.executable, "-m", "tests.benchmarks.upstream", str(upstream))
        running = System(port, database)
        running.processes["worker"] = started(*relay, "worker")
        running.processes["relay"] = started(*relay, "serve", "--port", str(port))
        running.processes["redis"] = psutil.Process(server.pid)
        _wait_for(port, upstream)
        yield running


def _wait_for(*ports: int) -> None:
    for port in ports:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            # Processes that start can't be awaited; this is no test.
            time.sleep(0.1)
        else:
            raise TimeoutError(f"nothing listens on {port}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    # No grace: what still runs was made for the figures only.
    process.kill()
    process.wait()
