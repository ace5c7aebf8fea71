"""Fixtures for every test: real servers and a real browser, each found or started once."""

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.absent import ABSENT, Absent, absent, under_ci
from tests.services.chromium import find_chromium
from tests.services.nginx import find_nginx
from tests.services.postgres_server import PostgresServer, postgres_binaries
from tests.services.redis_server import RedisServer, redis_binary


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every async test and fixture on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The run's own Redis server, without persistence; for faults take `start_redis`."""
    server = RedisServer(_redis_binary())
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    redis_server.thaw()
    if not redis_server.running:
        redis_server.restart(keep_data=False)
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start servers of the test's own: `start_redis(persistence=True, options=("--x", "y"))`."""
    binary = _redis_binary()
    started: list[RedisServer] = []

    def start(*, persistence: bool = False, options: tuple[str, ...] = ()) -> RedisServer:
        started.append(RedisServer(binary, persistence=persistence, options=options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's own PostgreSQL server; for faults take `start_postgres`."""
    server = PostgresServer(_postgres_binaries())
    yield server
    server.close()


@pytest.fixture
def start_postgres() -> Iterator[Callable[..., PostgresServer]]:
    """Start servers of the test's own: `start_postgres(options=("max_connections=20",))`.

    What may be wished for is `PostgresServer`'s.
    """
    binaries = _postgres_binaries()
    started: list[PostgresServer] = []

    def start(**wanted: Any) -> PostgresServer:
        started.append(PostgresServer(binaries, **wanted))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def postgres_template() -> str:
    """The database that `postgres_url` copies; a folder may override it with a migrated one."""
    return "template0"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a fresh PostgreSQL database."""
    name = postgres_server.create_database(postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of a SQLite database that does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path}/relay.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a fresh database: the test runs once for each kind that the project serves."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The installed Chromium."""
    return find_chromium() or absent("Chromium")


@pytest.fixture(scope="session")
def nginx() -> str:
    """The installed nginx."""
    return find_nginx() or absent("nginx")


@pytest.fixture(scope="session")
def node_path() -> Path:
    """The installed Node.js."""
    found = shutil.which("node")
    return Path(found) if found else absent("Node.js")


def _redis_binary() -> Path:
    return redis_binary() or absent("a Valkey or Redis server")


def _postgres_binaries() -> Path:
    return postgres_binaries() or absent("PostgreSQL")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the count of what the machine lacks."""
    config.stash.setdefault(ABSENT, Counter())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count what is left out; turn every skip into a failure where the outcome decides."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, Absent):
        item.config.stash[ABSENT][call.excinfo.value.what] += 1
    if report.skipped and under_ci():
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI leaves nothing out: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one loud line what was not proved, and why."""
    lacking = terminalreporter.config.stash[ABSENT]
    if lacking:
        counts = ", ".join(f"{what} ({count} tests)" for what, count in lacking.items())
        line = f"NOT PROVED HERE, for want of {counts}; CONTRIBUTING.md says what to install"
        terminalreporter.write_line(f"!!! {line} !!!", red=True, bold=True)
