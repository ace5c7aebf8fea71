"""PostgreSQL over TLS: the address says how, in libpq's words, and the server is held to it."""

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from sqlalchemy import text

from jobs.database import Database, database_url, migrate, schema_is_current
from jobs.errors import Unavailable
from jobs.settings import InvalidSetting
from tests.conftest import _postgres_binaries
from tests.services import PostgresServer

ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
CLOCK = text("SELECT 1")
NAME = text("SELECT current_setting('application_name')")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for localhost that listens to nobody without TLS and a password."""
    started = PostgresServer(_postgres_binaries(), tls=True, password="pass-word")
    yield started
    started.close()


async def test_it_is_migrated_written_and_read_over_verified_tls(server: PostgresServer) -> None:
    url = server.url(server.create_database())
    assert "verify-full" in url
    await migrate(url)
    async with Database.open(url) as database:
        assert await schema_is_current(database)
        assert (await database.fetch(ENCRYPTED))[0][0] is True


@pytest.mark.parametrize("mode", ["ssl=require", "sslmode=require", "sslmode=prefer", ""])
async def test_without_an_authority_it_is_encrypted_all_the_same(
    server: PostgresServer, mode: str
) -> None:
    async with Database.open(f"{server.url().partition('?')[0]}?{mode}") as database:
        assert (await database.fetch(ENCRYPTED))[0][0] is True


async def test_a_server_of_another_name_is_not_trusted(server: PostgresServer) -> None:
    url = server.url()
    async with Database.open(url.replace("@localhost:", "@127.0.0.1:")) as database:
        with pytest.raises(Unavailable) as refused:
            await database.fetch(CLOCK)
    assert "certificate" in str(refused.value.__cause__)
    weaker = url.replace("@localhost:", "@127.0.0.1:").replace("verify-full", "verify-ca")
    async with Database.open(weaker) as database:
        assert (await database.fetch(ENCRYPTED))[0][0] is True


async def test_a_server_that_nobody_known_vouches_for_is_not_trusted(
    server: PostgresServer,
) -> None:
    verified = f"{server.url().partition('?')[0]}?sslmode=verify-full&sslrootcert={certifi.where()}"
    async with Database.open(verified) as database:
        with pytest.raises(Unavailable) as refused:
            await database.fetch(CLOCK)
    assert "certificate" in str(refused.value.__cause__)


async def test_an_application_may_have_a_name(server: PostgresServer) -> None:
    async with Database.open(f"{server.url()}&application_name=ours") as database:
        assert (await database.fetch(NAME))[0][0] == "ours"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("sslmode=always", "sslmode"),
        ("ssl=always", "sslmode"),
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert"),
        ("sslmode=verify-full", "sslrootcert"),
        ("sslmode=require&sslcert=/nowhere/me.pem", "sslcert"),
        ("sslmode=require&channel_binding=require", "channel_binding"),
        ("command_timeout=soon", "command_timeout"),
    ],
)
def test_what_can_not_be_meant_is_refused_at_the_start(
    query: str, word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InvalidSetting, match=word) as refused:
        database_url(f"postgresql+asyncpg://me:hush@h/db?{query}")
    assert refused.value.variable == "RELAY_DATABASE_URL"
    assert "hush" not in str(refused.value)
