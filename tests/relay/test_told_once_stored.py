"""No client hears of its generation before it is on the disk; its worker may have begun by then."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from jobs import keys
from jobs.database import Database
from relay.app import create_app
from tests.relay.live import relay_settings
from tests.services import HeldDisk, eventually, live_server

CHAT: dict[str, Any] = {"kind": "chat", "input": "hello"}
either_way = pytest.mark.parametrize("path", ["/v1/generations", "/v1/generations?stream=true"])


@pytest.fixture(autouse=True)
def never_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else writes at this moment makes no admission go to a thread."""
    monkeypatch.setattr("jobs.sqlite_early.LOCK_SECONDS", 2.0)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The relay's Redis."""
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def client(migrated_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a live relay, whose streams are not waited for."""
    async with (
        live_server(create_app(relay_settings(migrated_url, redis_url))) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield client


async def told(client: httpx.AsyncClient, path: str) -> tuple[int, str]:
    """The status of the answer to a chat, and the id that it tells."""
    async with client.stream("POST", path, json=CHAT) as answer:
        return answer.status_code, answer.headers["location"].rsplit("/", 1)[1]


@either_way
async def test_it_is_offered_to_workers_while_its_client_waits_for_the_disk(
    client: httpx.AsyncClient, disk: HeldDisk, redis: Redis, path: str
) -> None:
    disk.goes_on.clear()
    asking = asyncio.create_task(told(client, path))

    async def is_offered() -> bool:
        return bool(await redis.zcard(keys.QUEUE))

    await eventually(is_offered)
    await eventually(lambda: disk.asked == 1)
    assert not asking.done()
    disk.goes_on.set()
    status, _ = await asking
    assert status == (200 if "stream" in path else 202)


@either_way
async def test_what_a_client_was_told_of_survives_a_loss_of_power(
    client: httpx.AsyncClient, disk: HeldDisk, tmp_path: Path, path: str
) -> None:
    for _ in range(3):
        _, name = await told(client, path)
        async with Database.open(disk.survivor(tmp_path / "relay.db")) as left:
            rows = await left.fetch(text("SELECT id FROM generations ORDER BY created_at DESC"))
            assert name in {row.id for row in rows}


@either_way
async def test_a_disk_that_refuses_leaves_the_outcome_unknown(
    client: httpx.AsyncClient, disk: HeldDisk, path: str
) -> None:
    disk.error = OSError(5, "Input/output error")
    answer = await client.post(path, json=CHAT)
    assert answer.status_code == 503
    assert answer.json()["code"] == "outcome_unknown"
    assert answer.json()["generation_id"].startswith("gen_")
