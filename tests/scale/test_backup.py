"""A dump of PostgreSQL is the whole backup: restored beside an empty Redis, nothing is missing."""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.member import Member
from tests.chaos.reader import Reader
from tests.chaos.system import PROGRAM
from tests.chaos.waves import wave, words
from tests.relay.heard import Heard, assert_is_the_rest
from tests.scale.fleet import Fleet, session
from tests.services import PostgresServer, RedisServer, free_port

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True)
class Restored:
    """A relay and a worker over what the dump held, and the dump's own moment."""

    relay: Member
    running: list[Reader]
    ended: list[Reader]
    http: aiohttp.ClientSession


@pytest.fixture
async def restored(
    fleet: Fleet, redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> AsyncIterator[Restored]:
    """Dump while some generations have ended and others run, then start anew from the dump."""
    postgres = fleet.postgres
    assert postgres is not None
    ended = await wave(fleet, 3, "demo-words-20")
    for reader in ended:
        await reader.finished(within=20)
    running = await wave(fleet, 3, "demo-words-60-pace-12")
    dump = tmp_path / "relay.dump"
    await run(postgres, "pg_dump", "--format=custom", f"--file={dump}", fleet.database)
    assert len(await fleet.in_flight()) == len(running)
    name = postgres.create_database()
    await run(postgres, "pg_restore", "--exit-on-error", f"--dbname={name}", str(dump))
    environment = fleet.environment | {
        "RELAY_DATABASE_URL": postgres.url(name),
        "RELAY_REDIS_URL": redis_url,
        "RELAY_JOURNAL_DIR": str(tmp_path / "journal"),
    }
    port = free_port()
    serve = [str(PROGRAM), "serve", "--port", str(port)]
    relay = Member("relay", serve, environment, tmp_path, port=port)
    worker = Member("worker", [str(PROGRAM), "worker"], environment, tmp_path, ready="is ready")
    try:
        for one in (relay, worker):
            one.launch()
        await asyncio.gather(*(one.ready(within=60) for one in (relay, worker)))
        async with session(fleet.token) as http:
            yield Restored(relay, running, ended, http)
    finally:
        for one in (relay, worker):
            if one.running:
                one.child.kill()


async def run(postgres: PostgresServer, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs against the server."""
    argv = [str(postgres.binaries / program), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=postgres.variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_a_dump_under_load_holds_what_had_ended_and_what_ran_is_run_again(
    fleet: Fleet, restored: Restored
) -> None:
    for before in restored.ended:
        whole = [one for one in before.numbered if one.cursor.attempt == 1]
        # From SQL alone, with the same ids: a reader of the old system goes on here.
        assert_is_the_rest(await told(restored, before.generation_id), whole)
        seen = random.Random(before.generation_id).choice(whole[:-1])
        rest = await told(restored, before.generation_id, cursor=str(seen.id))
        assert_is_the_rest(rest, whole, after=seen.cursor)
    for before in restored.running:
        reader = Reader(restored.http, lambda: restored.relay.url, before.generation_id,
                        cursor=before.last_id)  # fmt: skip
        await reader.start().finished(within=60)
        assert reader.end is not None
        assert reader.end.event.event == "completed"
        assert reader.text == words(60)
        reasons = [one.event.data["reason"] for one in reader.resets]
        assert reasons[-1] == "worker_lost"
        # A reader may have waited its lease out before a rescuer, as new, trusts its own watch.
        assert reasons[:-1] in ([], ["log_lost"])
    # The token is a part of the dump too, and the old system never noticed.
    for before in restored.running:
        await before.finished(within=30)
        assert before.text == words(60)
        assert not before.resets


async def told(restored: Restored, generation_id: str, cursor: str = "") -> list[Heard]:
    """What a reader gets from the restored system."""
    reader = Reader(restored.http, lambda: restored.relay.url, generation_id, cursor=cursor)
    await reader.start().finished(within=30)
    return reader.numbered
