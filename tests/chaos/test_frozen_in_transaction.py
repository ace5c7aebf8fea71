"""Whoever stands still in the middle of a transaction holds its locks against nobody for long."""

import asyncio
import time
from typing import Any

import pytest

from jobs.database_engines import STILL_SECONDS
from tests.chaos.conftest import Start
from tests.chaos.member import Member
from tests.chaos.reader import Reader
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words
from tests.services import DelayingProxy, Direction, eventually

CHAT = {"kind": "chat", "input": "Hello", "model": "demo-words-3"}
IN_ADMISSION = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
IN_COMMIT = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    " AND (query ILIKE '%UPDATE generations%' OR query ILIKE '%INSERT INTO turns%')"
)


async def post(system: System, relay: Member) -> dict[str, Any]:
    accepted: dict[str, Any] = await system.post("/v1/generations", CHAT, relay=relay.url)
    return accepted


async def caught(system: System, member: Member, holding: str) -> None:
    """Returns with this member in the middle of a transaction that holds what others need."""
    assert system.postgres is not None
    postgres = system.postgres
    await eventually(lambda: int(postgres.sql(holding)) > 0, within=20, every=0.005)
    member.freeze()
    await asyncio.sleep(0.3)
    # It is in it still, and not just past it.
    assert int(postgres.sql(holding)) > 0


def slow(member: Member, milliseconds: float) -> None:
    """Each of its words to the database takes so long, so that it can be caught between two."""
    link_of(member).delay_ms = dict.fromkeys(Direction, milliseconds)


def link_of(member: Member) -> DelayingProxy:
    """Its link to the database."""
    assert member.database_link is not None
    return member.database_link


@pytest.mark.timeout(60)
async def test_a_relay_frozen_in_an_admission_keeps_no_other_from_admitting(
    start_system: Start,
) -> None:
    # With a limit for all of them, they are admitted one after the other.
    system = await start_system(
        postgres=True, relays=2, workers=1, total_generations_per_minute=6000
    )
    frozen, other = system.relays
    slow(frozen, 100)
    caught_one = asyncio.create_task(post(system, frozen))
    await caught(system, frozen, IN_ADMISSION)
    began = time.monotonic()
    accepted = await post(system, other)
    assert 1 < time.monotonic() - began < STILL_SECONDS + 3
    path = f"/v1/generations/{accepted['id']}"

    async def completed() -> bool:
        answer: dict[str, Any] = await system.get(path, relay=other.url)
        return bool(answer["state"] == "completed")

    await eventually(completed, within=10)
    slow(frozen, 0)
    frozen.thaw()
    # What it had begun came to nothing, and it says so; it goes on by itself.
    await asyncio.gather(caught_one, return_exceptions=True)
    await post(system, frozen)


@pytest.mark.long
@pytest.mark.parametrize("attempts", [8, 1])
async def test_readers_of_a_worker_frozen_in_a_commit_hear_within_the_lease_and_five_seconds(
    start_system: Start, attempts: int
) -> None:
    lease = 3.0
    system = await start_system(
        postgres=True, relays=1, lease=lease, max_attempts=attempts, token_timeout_seconds=60
    )
    worker, idle = system.workers
    idle.freeze()
    [committing] = await wave(system, 1, "demo-words-60-pace-30")
    silent = await wave(system, 4, "demo-fast-tokens-9-silent-after-3")
    slow(worker, 150)
    await caught(system, worker, IN_COMMIT)
    idle.thaw()
    began = time.monotonic()

    async def hears(reader: Reader) -> float:
        await reader.until(lambda one: bool(one.resets) or one.over, 30)
        return time.monotonic() - began

    heard = await asyncio.gather(*(hears(one) for one in (committing, *silent)))
    assert max(heard) < lease + 5, heard
    slow(worker, 0)
    worker.thaw()
    if attempts > 1:
        # The commit that was begun came to nothing: the next attempt is the one that counts.
        await assert_whole(system, committing, words(60), attempt=2)


@pytest.mark.long
async def test_a_commit_whose_connection_is_forgotten_is_made_over_another_one(
    start_system: Start,
) -> None:
    system = await start_system(postgres=True, relays=1, workers=1, lease=10)
    assert system.postgres is not None
    postgres = system.postgres
    [worker] = system.workers
    [reader] = await wave(system, 1, "demo-words-60-pace-30")
    slow(worker, 120)
    await eventually(lambda: int(postgres.sql(IN_COMMIT)) > 0, within=20, every=0.005)
    link_of(worker).forget_open()
    slow(worker, 0)
    await reader.finished(30)
    await assert_whole(system, reader, words(60))
    assert reader.resets == []
    link_of(worker).heal()
