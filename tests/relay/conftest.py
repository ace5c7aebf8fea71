"""A relay over a real database and a real Redis, with nothing to run its generations."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from jobs.database import migrate
from relay.settings import read_relay_settings
from tests.relay.edge import EdgeRelay, open_edge

OpenRelay = Callable[..., AbstractAsyncContextManager[EdgeRelay]]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "relay.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def migrated_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """The address of a fresh SQLite database with the newest schema."""
    shutil.copy(migrated_sqlite, tmp_path / "relay.db")
    return f"sqlite+aiosqlite:///{tmp_path}/relay.db"


@pytest.fixture
def open_relay(migrated_url: str, redis_url: str) -> OpenRelay:
    """Open a relay: `async with open_relay(RELAY_AUTH="token") as relay`."""

    @asynccontextmanager
    async def opened(**variables: str) -> AsyncIterator[EdgeRelay]:
        environment = {
            "RELAY_AUTH": "off",
            "RELAY_SECRET": "a secret of the tests",
            "RELAY_MODEL": "default-model",
            "RELAY_MODELS": "other-model",
            "RELAY_DATABASE_URL": migrated_url,
            "RELAY_REDIS_URL": redis_url,
            **variables,
        }
        async with open_edge(read_relay_settings(environment)) as relay:
            yield relay

    return opened


@pytest.fixture
async def relay(open_relay: OpenRelay) -> AsyncIterator[EdgeRelay]:
    """A relay without authorization."""
    async with open_relay() as opened:
        yield opened


@pytest.fixture
async def guarded(open_relay: OpenRelay) -> AsyncIterator[EdgeRelay]:
    """A relay that wants tokens."""
    async with open_relay(RELAY_AUTH="token") as opened:
        yield opened
