"""A relay with all that is behind it, for clients of every kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.conftest import chromium as chromium
from tests.clients.place import Place, open_place
from tests.relay.conftest import migrated_sqlite as migrated_sqlite
from tests.relay.conftest import migrated_url as migrated_url
from tests.relay.conftest import open_relay as open_relay


@pytest.fixture
async def place(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A relay over SQLite; its workers are hired by the test."""
    async with open_place(redis_url, sqlite_url, tmp_path) as opened:
        yield opened
