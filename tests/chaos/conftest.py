"""Fixtures of the chaos suite: whole systems, and which part of the suite is run."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.system import System, open_system
from tests.conftest import _postgres_binaries, _redis_binary
from tests.services import PostgresServer, RedisServer

Start = Callable[..., Awaitable[System]]

LEASE = 1.5
HEARS_WITHIN = LEASE + 5.0
"""How long a reader may wait for word of its worker's loss (protocol §8)."""
GRACE = 1.5
"""How long a stopping worker lets its generations go on."""
TOKEN_TIMEOUT = 3.5
MAX_ATTEMPTS = 8
"""More than bad luck alone can use up."""

SETTINGS: dict[str, Any] = {
    "relays": 2, "workers": 2, "lease": LEASE, "grace": GRACE, "max_attempts": MAX_ATTEMPTS,
    "token_timeout_seconds": TOKEN_TIMEOUT, "first_token_timeout_seconds": TOKEN_TIMEOUT + 1,
}  # fmt: skip


@pytest.fixture
async def start_system(
    start_redis: Callable[..., RedisServer],
    start_postgres: Callable[..., PostgresServer],
    tmp_path: Path,
) -> AsyncIterator[Start]:
    """Start a system of the test's own: `await start_system(workers=2, postgres=True)`.

    `options` are the Redis server's; all else is `open_system`'s.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *, postgres: bool = False, options: tuple[str, ...] = (), **wanted: Any
        ) -> System:
            redis = start_redis(persistence=True, options=options)
            server = start_postgres() if postgres else None
            return await stack.enter_async_context(_open(redis, server, tmp_path, **wanted))

        yield start


@pytest.fixture(scope="package")
async def shared_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system over SQLite that many tests break, one after the other."""
    redis = RedisServer(_redis_binary(), persistence=True)
    try:
        async with _open(redis, None, tmp_path_factory.mktemp("sqlite")) as system:
            yield system
    finally:
        redis.close()


@pytest.fixture(scope="package")
async def shared_postgres_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The same over PostgreSQL, for what is done to the database."""
    redis = RedisServer(_redis_binary(), persistence=True)
    try:
        postgres = PostgresServer(_postgres_binaries())
        try:
            directory = tmp_path_factory.mktemp("postgres")
            async with _open(redis, postgres, directory, relays=1) as system:
                yield system
        finally:
            postgres.close()
    finally:
        redis.close()


@pytest.fixture
async def system(shared_system: System) -> AsyncIterator[System]:
    """The shared system, whole: two relays, two workers, SQLite; healed before and after."""
    async with _healed(shared_system) as healed:
        yield healed


@pytest.fixture
async def postgres_system(shared_postgres_system: System) -> AsyncIterator[System]:
    """The shared system over PostgreSQL: one relay, two workers; healed before and after."""
    async with _healed(shared_postgres_system) as healed:
        yield healed


@asynccontextmanager
async def _open(
    redis: RedisServer, postgres: PostgresServer | None, directory: Path, **wanted: Any
) -> AsyncIterator[System]:
    url = f"sqlite+aiosqlite:///{directory}/relay.db" if postgres is None else postgres.url()
    settings = {**SETTINGS, **wanted}
    async with open_system(redis, url, directory, **settings) as system:
        system.postgres = postgres
        yield system


@asynccontextmanager
async def _healed(system: System) -> AsyncIterator[System]:
    await system.heal()
    yield system
    await system.heal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last words of a failed test's processes."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections += [
            ("processes", found.last_words())
            for found in item.funcargs.values()
            if isinstance(found, System)
        ]
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Make the suite's mark known."""
    config.addinivalue_line("markers", "long: only `make chaos` runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long part to `make chaos`, which sets CHAOS."""
    if os.environ.get("CHAOS"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
