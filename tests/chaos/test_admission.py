"""Whatever breaks while a request is taken in: it is answered, and makes one generation at most."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from jobs.database_engines import STILL_SECONDS
from jobs.redis_link import CALL_TIMEOUT_SECONDS
from tests.chaos.conftest import Start
from tests.chaos.member import Member
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, words
from tests.services import DelayingProxy, Direction, PostgresServer, eventually

ANSWERED_SECONDS = 26.0
"""How long a request may be looked into before it is answered, and a second for this machine."""
MODEL, TEXT = "demo-words-5", words(5)
CHAT = {"kind": "chat", "input": "Hello", "model": MODEL}
IN_ADMISSION = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"


async def answer(relay: Member, key: str) -> tuple[int, Any, bool]:
    """The status of one request under this key, its document, and whether that was a replay."""
    timeout = aiohttp.ClientTimeout(total=2 * ANSWERED_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.post(
            f"{relay.url}/v1/generations", json=CHAT, headers={"Idempotency-Key": key}
        ) as answered,
    ):
        replayed = answered.headers.get("Idempotent-Replay") == "true"
        return answered.status, await answered.json(content_type=None), replayed


async def is_one_whole(system: System, key: str) -> str:
    """Asked again, the key gives the one generation that there is, which was run once."""
    asked = await system.ask_until_taken(key, MODEL, "Hello")
    [(only,)] = await system.rows("SELECT id FROM generations WHERE idempotency_key = :k", k=key)
    assert asked["id"] == only
    await assert_whole(system, system.read(only), TEXT)
    return str(only)


def postgres_of(system: System) -> PostgresServer:
    assert system.postgres is not None
    return system.postgres


def links_of(member: Member) -> tuple[DelayingProxy, DelayingProxy]:
    """Its links to Redis and to the database."""
    assert member.redis_link is not None
    assert member.database_link is not None
    return member.redis_link, member.database_link


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("limit", [0, 6000], ids=["without a limit", "with one for all"])
async def test_where_commits_hang_a_request_is_answered_in_time_and_its_key_has_one_generation(
    start_system: Start, limit: int
) -> None:
    system = await start_system(
        postgres=True, relays=1, workers=1, total_generations_per_minute=limit
    )
    [relay], postgres = system.relays, postgres_of(system)
    postgres.lose_standby()
    try:
        began = time.monotonic()
        status, told, _ = await answer(relay, "key")
        took = time.monotonic() - began
        hanging = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        assert int(postgres.sql(hanging)) > 0
        assert (status, told["code"]) == (503, "outcome_unknown")
        assert took < ANSWERED_SECONDS
        # Nobody is told anything else meanwhile.
        status, _, _ = await answer(relay, "key")
        assert status == 503
    finally:
        postgres.forget_standby()
    assert await is_one_whole(system, "key") == told["generation_id"]
    assert (await system.model_stats())["requests"] == 1


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("committed", [False, True], ids=["before its commit", "after it"])
async def test_forty_that_retry_while_the_machine_of_their_relay_vanishes_get_one_generation(
    start_system: Start, committed: bool
) -> None:
    system = await start_system(
        postgres=True, relays=2, workers=1, total_generations_per_minute=6000
    )
    vanishing, _ = system.relays
    to_redis, link = links_of(vanishing)
    store = b"INSERT INTO generations"
    trap = link.cut_after(b"COMMIT", Direction.UP, transaction=store) if committed else None
    link.delay_ms = dict.fromkeys(Direction, 50.0)
    first = [asyncio.create_task(answer(vanishing, "key")) for _ in range(20)]
    if trap is None:
        await eventually(lambda: int(postgres_of(system).sql(IN_ADMISSION)) > 0)
    else:
        await trap.wait()
    # Neither an end nor a reset: nobody there says anything any more.
    link.black_hole()
    to_redis.black_hole()
    vanishing.kill()
    for lost in await asyncio.gather(*first, return_exceptions=True):
        assert isinstance(lost, aiohttp.ClientError)
    assert committed == bool(await system.rows("SELECT id FROM generations"))
    began = time.monotonic()
    answers = await asyncio.gather(
        *(system.ask_until_taken("key", MODEL, "Hello") for _ in range(40))
    )
    # Its session keeps the lock of admissions for STILL_SECONDS, and none that waited in it later.
    assert time.monotonic() - began < STILL_SECONDS + 5, time.monotonic() - began
    [only] = {one["id"] for one in answers}
    assert await is_one_whole(system, "key") == only
    to_redis.heal()
    link.heal()
    assert (await system.model_stats())["requests"] == 1


DEAD = [tuple(Direction), (Direction.UP,), (Direction.DOWN,)]


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_link_to_the_database_that_dies_in_an_admission_loses_and_doubles_nothing(
    start_system: Start,
) -> None:
    system = await start_system(
        postgres=True, relays=1, workers=1, total_generations_per_minute=6000
    )
    [relay], postgres = system.relays, postgres_of(system)
    link = links_of(relay)[1]
    for number, dead in enumerate(DEAD):
        key = f"key-{number}"
        link.delay_ms = dict.fromkeys(Direction, 50.0)
        asking = asyncio.create_task(answer(relay, key))
        await eventually(lambda: int(postgres.sql(IN_ADMISSION)) > 0)
        link.black_hole(*dead)
        link.delay_ms = dict.fromkeys(Direction, 0.0)
        began = time.monotonic()
        status, _, _ = await asking
        assert status == 503
        assert time.monotonic() - began < ANSWERED_SECONDS
        link.heal()
        await is_one_whole(system, key)
    assert (await system.model_stats())["requests"] == len(DEAD)


@pytest.mark.parametrize("dead", DEAD, ids=["both ways", "up", "down"])
async def test_a_request_over_a_dead_link_to_redis_is_taken_in_time_and_runs_once(
    system: System, dead: tuple[Direction, ...]
) -> None:
    key = "-".join(one.name for one in dead)
    before = (await system.model_stats())["requests"]
    for relay in system.relays:
        assert relay.redis_link is not None
        relay.redis_link.black_hole(*dead)
    began = time.monotonic()
    status, told, _ = await answer(system.relays[0], key)
    assert status == 202
    assert time.monotonic() - began < 2 * CALL_TIMEOUT_SECONDS + 1
    # Its worker's link is whole, and so is its rescuer's.
    assert (await system.ended(told["id"]))["state"] == "completed"
    for relay in system.relays:
        assert relay.redis_link is not None
        assert relay.redis_link.counts.held
        relay.redis_link.heal()
    assert await is_one_whole(system, key) == told["id"]
    assert (await system.model_stats())["requests"] == before + 1
