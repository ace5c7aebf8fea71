"""Workers are told at once of what they would else find with their next heartbeat."""

from collections.abc import AsyncIterator

import pytest

from jobs import keys
from jobs.pubsub import open_pubsub
from tests.relay.edge import EdgeRelay
from tests.relay.stage import Author, authoring
from tests.services import eventually


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who runs generations, as the owner of a relay without authorization."""
    async with authoring(migrated_url, redis_url, owner="local") as author:
        yield author


@pytest.fixture
async def told(redis_url: str) -> AsyncIterator[list[str]]:
    """What workers are told."""
    heard: list[str] = []
    async with open_pubsub(redis_url) as pubsub:
        listening = pubsub.subscribe(
            keys.CONTROL, lambda one: heard.append(one.decode()), lambda: None
        )
        assert await listening.wait(5)
        yield heard


async def test_a_worker_is_told_of_a_cancellation(
    relay: EdgeRelay, author: Author, told: list[str]
) -> None:
    running = await author.running()
    answer = await relay.client.post(f"/v1/generations/{running.generation_id}/cancel")
    assert answer.status_code == 202
    await eventually(lambda: f"cancel {running.generation_id}" in told)


async def test_a_worker_is_told_that_its_generation_was_interrupted(
    relay: EdgeRelay, author: Author, told: list[str]
) -> None:
    first = await relay.chat("first")
    await author.begin_id(first["id"])
    body = {"kind": "chat", "input": "now", "conversation_id": first["conversation_id"]}
    answer = await relay.post("/v1/generations", {**body, "on_active": "interrupt"})
    assert answer.status_code == 202
    await eventually(lambda: f"cancel {first['id']}" in told)
