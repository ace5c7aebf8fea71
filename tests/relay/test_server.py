"""The relay as a process: where it listens, what it says, and that nobody can keep it."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from jobs.database import Database
from relay.listening import Address, PortTaken, listen, listening_at
from relay.server import STOPPING_SECONDS, server_config
from tests.conformance.acts import Acts, outcome
from tests.services import Child
from tests.services.waiting import until

PROGRAM = Path(sys.executable).with_name("persona-relay")


@pytest.fixture
def environment(migrated_sqlite: Path, tmp_path: Path, redis_url: str) -> dict[str, str]:
    """What a relay is run with."""
    shutil.copy(migrated_sqlite, tmp_path / "relay.db")
    kept = {n: text for n, text in os.environ.items() if not n.startswith(("RELAY_", "OPENAI_"))}
    return kept | {
        "RELAY_AUTH": "off",
        "RELAY_MODEL": "m",
        "RELAY_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/relay.db",
        "RELAY_REDIS_URL": redis_url,
        "RELAY_OWNER_STREAMS": "0",
        "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0",
    }


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """`persona-relay serve` on a free port that it chose itself, and its address."""
    argv = [str(PROGRAM), "serve", "--port", "0"]
    with Child(argv, output=tmp_path / "out", env=environment, cwd=tmp_path) as child:
        until(lambda: "relay is ready" in child.text() or child.exit_code is not None, within=30)
        found = re.search(r"url=(http://127\.0\.0\.1:\d+)", child.text())
        assert found, child.text()
        yield child, found[1]


def _long_answer(folder: Path, characters: int) -> str:
    """A completed generation whose replay is this long; its id."""

    async def stored() -> str:
        async with Database.open(f"sqlite+aiosqlite:///{folder}/relay.db") as database:
            acts = Acts(database)
            await acts.worker("wrk_1")
            accepted = await acts.accept(owner="local")
            await acts.run(accepted, outcome("x" * characters))
            return accepted.generation.id

    return asyncio.run(stored())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_and_cuts_fifty_open_streams(
    number: signal.Signals, served: tuple[Child, str]
) -> None:
    child, url = served
    body = {"kind": "chat", "input": "hello"}
    with ExitStack() as stack, httpx.Client(base_url=url, timeout=30) as client:
        made = client.post("/v1/generations", json=body).json()
        limits = httpx.Limits(max_connections=60)
        streaming = stack.enter_context(httpx.Client(base_url=url, limits=limits, timeout=30))
        streams = []
        for _ in range(50):
            answer = stack.enter_context(streaming.stream("GET", made["events_url"]))
            chunks = answer.iter_raw()
            assert b"queued" in next(chunks)
            streams.append(chunks)
        began = time.monotonic()
        child.signal(number)
        assert child.wait(STOPPING_SECONDS + 10) == 0, child.text()
        assert time.monotonic() - began < STOPPING_SECONDS + 3
        for chunks in streams:
            # Cut, not ended: the last chunk of the body never came.
            with pytest.raises(httpx.RemoteProtocolError):
                list(chunks)
    assert "Traceback" not in child.text()


def test_a_reader_that_never_reads_can_not_keep_it(
    served: tuple[Child, str], tmp_path: Path
) -> None:
    child, url = served
    id = _long_answer(tmp_path, 8_000_000)
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        # The text is in the resource too: the body is larger than any buffer between the two.
        reader.sendall(f"GET /v1/generations/{id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        began = time.monotonic()
        child.signal(signal.SIGTERM)
        assert child.wait(STOPPING_SECONDS + 10) == 0, child.text()
        assert time.monotonic() - began < STOPPING_SECONDS + 5


def test_a_second_signal_while_it_stops_is_harmless(served: tuple[Child, str]) -> None:
    child, url = served
    body = {"kind": "chat", "input": "hello"}
    with httpx.stream("POST", f"{url}/v1/generations?stream=true", json=body) as answer:
        next(answer.iter_raw())
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGINT)
        assert child.wait(STOPPING_SECONDS + 10) == 0
    assert "Traceback" not in child.text()


def test_a_port_that_is_taken_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [PROGRAM, "serve", "--port", str(port)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"persona-relay: can't listen on 127.0.0.1 port {port}: Address already in use\n"
    )


def test_a_host_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"can't listen on 192\.0\.2\.1"):
        listen(Address("192.0.2.1", 0))


def test_connections_inherit_what_gets_rid_of_dead_readers() -> None:
    with listen(Address("127.0.0.1", 0)) as listener:
        address = listening_at(listener, "127.0.0.1")
        with socket.create_connection(("127.0.0.1", address.port)):
            accepted, _ = listener.accept()
            with accepted:
                tcp = socket.IPPROTO_TCP
                assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 30_000
                assert accepted.getsockopt(tcp, socket.TCP_NODELAY)
                # Linux answers with twice of what was asked for.
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 131_072


def test_an_idle_connection_is_kept_longer_than_by_any_who_asks() -> None:
    # nginx keeps one to its upstream for a minute, the SDKs keep theirs for some seconds.
    assert server_config(Starlette()).timeout_keep_alive > 60


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
        ("", "http://127.0.0.1:80"),
    ],
)
def test_the_url_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert Address(host, 80).url == url


def test_what_is_there_at_the_start_is_left_out_of_every_later_collection(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A full collection of all that was imported holds every stream up for 75 to 150 ms."""
    told = tmp_path / "walked"
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, gc\n"
        f"atexit.register(lambda: open({str(told)!r}, 'w').write("
        "f'{gc.get_freeze_count()} {len(gc.get_objects())}'))\n"
    )
    argv = [str(PROGRAM), "serve", "--port", "0"]
    environment = environment | {"PYTHONPATH": str(tmp_path)}
    with Child(argv, output=tmp_path / "out", env=environment, cwd=tmp_path) as child:
        until(lambda: "relay is ready" in child.text() or child.exit_code is not None, within=30)
        child.signal(signal.SIGTERM)
        assert child.wait(STOPPING_SECONDS + 10) == 0, child.text()
    frozen, walked = map(int, told.read_text().split())
    assert frozen > 10 * walked > 0
