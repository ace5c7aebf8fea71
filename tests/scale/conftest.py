"""One fleet for the whole folder: it takes some seconds to start."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import _postgres_binaries, _redis_binary
from tests.scale.fleet import Fleet, open_fleet
from tests.services import PostgresServer, RedisServer


@pytest.fixture(scope="package")
def servers() -> Iterator[tuple[RedisServer, PostgresServer]]:
    """A Redis with a password, and a PostgreSQL that wants one and TLS."""
    with ExitStack() as stack:
        redis = RedisServer(_redis_binary(), persistence=True, password="hush-redis")
        stack.callback(redis.close)
        postgres = PostgresServer(_postgres_binaries(), tls=True, password="hush-postgres")
        stack.callback(postgres.close)
        yield redis, postgres


@pytest.fixture(scope="package")
async def fleet(
    servers: tuple[RedisServer, PostgresServer],
    nginx: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Fleet]:
    """Two relays behind nginx, three workers, one PostgreSQL, one Redis."""
    async with open_fleet(*servers, nginx, tmp_path_factory.mktemp("fleet")) as opened:
        yield opened
