"""The database is cut off, restarted or away: outcomes are read, not guessed, and none is lost."""

import asyncio
import resource
import time
from collections.abc import Awaitable
from typing import Any, Literal

import aiohttp
import pytest

from jobs.database import ANSWER_SECONDS
from jobs.finish import journalled_outcome
from jobs.journal import Journal
from jobs.store.commits import Outcome
from tests.chaos.conftest import Start
from tests.chaos.faults import stop
from tests.chaos.member import Member
from tests.chaos.system import System
from tests.chaos.waves import assert_whole, wave, words
from tests.services import Direction, eventually

RELAY_IS_GONE, WORKER_IS_GONE = 5.0, 8.0
"""Seconds from SIGTERM on, where nothing is under way: docs/operations.md promises them."""
IN_JOURNAL = "the database does not take a finished generation; it is kept in the journal"
OFFERED = "nobody runs it: offered again"


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_connection_that_breaks_at_commit_leaves_one_turn(
    postgres_system: System, where: Literal["before", "after"]
) -> None:
    system = postgres_system
    before = await system.model_stats()
    readers = await wave(system, 4, "demo-words-40-pace-30")
    traps = []
    for reader in readers:
        link = (await system.holder(reader.generation_id)).database_link
        assert link is not None
        cut = link.cut_before if where == "before" else link.cut_after
        # The result's own commit: no heartbeat's transaction carries a generation's id.
        mine = reader.generation_id.encode()
        traps.append(cut(b"COMMIT", Direction.UP, transaction=mine))
    for reader in readers:
        await assert_whole(system, reader, words(40))
        assert (await system.resource(reader.generation_id))["usage"]["output_tokens"] == 40
    assert [trap.sprung for trap in traps] == [1, 1, 1, 1]
    assert (await system.model_stats())["requests"] == before["requests"] + 4


async def test_while_the_database_is_away_tokens_go_on_and_only_the_end_waits(
    postgres_system: System,
) -> None:
    system = postgres_system
    assert system.postgres is not None
    readers = await wave(system, 4, "demo-words-60-pace-20")
    assert len(await system.in_flight()) == 4
    shown = [len(reader.text) for reader in readers]
    await stop(system.postgres)
    try:
        # Longer than a lease, and beyond the end of every answer.
        for reader in readers:
            await reader.until(lambda one: one.text == words(60), 10.0)
            assert reader.end is None
        assert shown < [len(reader.text) for reader in readers]
        await eventually(
            lambda: sum(one.output.count(IN_JOURNAL) for one in system.workers) >= 4, within=15.0
        )
    finally:
        system.postgres.start()
    for reader in readers:
        await assert_whole(system, reader, words(60), within=20)
        assert reader.connections == 1, reader.tale()


async def test_a_database_that_takes_nobody_for_a_while_loses_nothing(
    postgres_system: System,
) -> None:
    """As during maintenance: the server is up, ends every session and refuses new ones."""
    system = postgres_system
    postgres = system.postgres
    assert postgres is not None
    name = "postgres"
    readers = await wave(system, 4, "demo-words-40-pace-20")
    postgres.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "template1")
    try:
        ended = postgres.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = '{name}' AND pid <> pg_backend_pid()",
            "template1",
        )
        assert int(ended) > 0
        await eventually(
            lambda: sum(one.output.count(IN_JOURNAL) for one in system.workers) >= 4, within=15.0
        )
    finally:
        postgres.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", "template1")
    for reader in readers:
        await assert_whole(system, reader, words(40), within=20)


async def test_a_commit_that_arrives_after_a_newer_claim_changes_nothing(
    postgres_system: System,
) -> None:
    """Held on its way for longer than the lease, then delivered while the next attempt runs."""
    system = postgres_system
    [reader] = await wave(system, 1, "demo-words-40-pace-20")
    worker = await system.holder(reader.generation_id)
    link = worker.database_link
    assert link is not None
    await reader.wrote(len(words(35)))
    link.black_hole(Direction.UP)
    await reader.until(lambda one: bool(one.resets) and bool(one.text), 10.0)
    assert link.counts.held
    link.heal()
    await asyncio.sleep(0.5)
    assert (await system.in_flight()).keys() == {reader.generation_id}
    assert [role for role, _, _ in await system.turns(reader.generation_id)] == ["user"]
    await assert_whole(system, reader, words(40), attempt=2)


@pytest.mark.long
async def test_what_a_killed_worker_had_journalled_is_committed_by_the_next(
    postgres_system: System,
) -> None:
    """Its very bytes: the next worker alone is awake then, and asks no model."""
    system = postgres_system
    assert system.postgres is not None
    [reader] = await wave(system, 1, "demo-words-30-pace-30")
    worker = await system.holder(reader.generation_id)
    [other] = [one for one in system.workers if one is not worker]
    await stop(system.postgres)
    try:
        event = f"{reader.generation_id}:1"
        await eventually(lambda: _pending(system, event) is not None, within=20.0, every=0.05)
        worker.kill()
        assert IN_JOURNAL in worker.output
        before = await system.model_stats()
        journalled = _pending(system, event)
        assert journalled is not None
        # Nobody else may take it for lost meanwhile.
        for one in (*system.relays, other):
            one.freeze()
    finally:
        system.postgres.start()
    await worker.start()
    ended = "SELECT state, attempt, timeline FROM generations WHERE id = :id AND state != 'running'"
    await eventually(lambda: _any(system.rows(ended, id=reader.generation_id)), within=15.0)
    [(state, attempt, timeline)] = await system.rows(ended, id=reader.generation_id)
    assert (state, attempt) == ("completed", 1)
    assert (bytes(timeline), words(30)) == (journalled.timeline, journalled.text)
    assert (await system.model_stats())["requests"] == before["requests"]
    for one in (*system.relays, other):
        one.thaw()
    await assert_whole(system, reader, words(30))


@pytest.mark.long
async def test_a_worker_that_comes_back_asks_for_no_answer_that_its_journal_holds(
    start_system: Start,
) -> None:
    """A relay is awake meanwhile, and has offered them again."""
    system = await start_system(postgres=True, relays=1, workers=1, lease=3.0)
    assert system.postgres is not None
    [worker] = system.workers
    readers = await wave(system, 4, "demo-words-20-pace-30")
    await stop(system.postgres)
    try:
        await eventually(lambda: worker.output.count(IN_JOURNAL) == 4, within=20.0, every=0.05)
        worker.kill()
        before = await system.model_stats()
    finally:
        system.postgres.start()
    [relay] = system.relays
    await eventually(lambda: relay.output.count("offered again") >= 4, within=30.0)
    await worker.start()
    for reader in readers:
        await assert_whole(system, reader, words(20))
        assert reader.resets == []
    assert (await system.model_stats())["requests"] == before["requests"]


def _pending(system: System, event_id: str) -> Outcome | None:
    """What a journal of the system holds of it, not done yet; None where none does."""
    for file in system.journals.rglob("journal.jsonl"):
        with Journal.inspect(file.parent) as view:
            found = [one for one in view.pending() if one.event_id == event_id]
        if found:
            return journalled_outcome(found[0])
    return None


async def _any(rows: Awaitable[list[Any]]) -> bool:
    return bool(await rows)


@pytest.mark.long
async def test_a_crashing_database_loses_no_generation_and_resets_no_reader(
    postgres_system: System,
) -> None:
    system = postgres_system
    assert system.postgres is not None
    readers = await wave(system, 6, "demo-words-70-pace-20")
    pids = {system.postgres.pid}
    for _ in range(2):
        assert await system.in_flight()
        system.postgres.restart()
        pids.add(system.postgres.pid)
        await asyncio.sleep(0.5)
    assert len(pids) == 3
    for reader in readers:
        await assert_whole(system, reader, words(70), within=20)


@pytest.mark.long
async def test_a_database_that_is_away_beyond_the_lease_makes_nobody_lost(
    postgres_system: System,
) -> None:
    """Nobody could beat; so nobody is judged until all had a whole lease of contact."""
    system = postgres_system
    assert system.postgres is not None
    readers = await wave(system, 4, "demo-words-120-pace-20")
    began = time.monotonic()
    await stop(system.postgres)
    try:
        await asyncio.sleep(2 * system.lease)
    finally:
        system.postgres.start()
    assert time.monotonic() - began > 2 * system.lease
    assert len(await system.in_flight()) == 4
    for reader in readers:
        await assert_whole(system, reader, words(120), within=20)


@pytest.mark.long
async def test_a_database_that_is_read_only_beyond_the_lease_makes_nobody_lost(
    postgres_system: System,
) -> None:
    """As with a full disk: all can be read, and nobody can beat."""
    system = postgres_system
    postgres = system.postgres
    assert postgres is not None
    writable = "dbname=postgres options=-cdefault_transaction_read_only=off"
    readers = await wave(system, 4, "demo-words-250-pace-20")
    postgres.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    postgres.sql("SELECT pg_reload_conf()")
    try:
        for one in system.workers:
            await eventually(lambda one=one: "no heartbeat: waiting" in one.output, within=10.0)
        await asyncio.sleep(2 * system.lease)
    finally:
        postgres.sql("ALTER SYSTEM RESET default_transaction_read_only", writable)
        postgres.sql("SELECT pg_reload_conf()", writable)
    assert len(await system.in_flight()) == 4
    for reader in readers:
        await assert_whole(system, reader, words(250), within=30)


@pytest.mark.long
async def test_a_database_whose_commits_hang_beyond_the_lease_makes_nobody_lost(
    start_system: Start,
) -> None:
    """As when its synchronous standby is gone: what changes nothing is answered, no beat is."""
    system = await start_system(postgres=True, relays=1, workers=2, lease=3.0)
    postgres = system.postgres
    assert postgres is not None
    readers = await wave(system, 4, "demo-words-400-pace-20")
    postgres.lose_standby()
    try:
        for one in system.workers:
            await eventually(lambda one=one: "no heartbeat: waiting" in one.output, within=20.0)
        await asyncio.sleep(2 * system.lease)
    finally:
        postgres.forget_standby()
    assert len(await system.in_flight()) == 4
    for reader in readers:
        await assert_whole(system, reader, words(400), within=40)
    assert not any(OFFERED in one.output for one in (*system.relays, *system.workers))


@pytest.mark.long
async def test_a_full_disk_under_sqlite_beyond_the_lease_makes_nobody_lost(
    start_system: Start,
) -> None:
    """No process may make any file grow."""
    system = await start_system(relays=1, workers=2)
    members = (*system.relays, *system.workers)
    readers = await wave(system, 4, "demo-words-300-pace-20")
    for one in members:
        resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    await asyncio.sleep(0.5)
    beats = await system.rows("SELECT id, heartbeat_at FROM workers ORDER BY id")
    await asyncio.sleep(3 * system.lease)
    assert beats == await system.rows("SELECT id, heartbeat_at FROM workers ORDER BY id")
    for one in members:
        resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert len(await system.in_flight()) == 4
    for reader in readers:
        await assert_whole(system, reader, words(300), within=40)
    assert not any(OFFERED in one.output for one in members)


@pytest.mark.long
async def test_a_frozen_link_to_the_database_is_bounded(postgres_system: System) -> None:
    """While it stays dead: ends are journalled, requests are answered, and nobody is told."""
    system = postgres_system
    readers = await wave(system, 4, "demo-words-30-pace-30")
    links = [one.database_link for one in (*system.relays, *system.workers) if one.database_link]
    resets = [link.counts.resets for link in links]
    for link in links:
        link.black_hole()
    await eventually(
        lambda: sum(one.output.count(IN_JOURNAL) for one in system.workers) >= 4, within=30.0
    )
    asked = f"{system.relay_url()}/v1/generations/{readers[0].generation_id}"
    asked_at = time.monotonic()
    async with system.http.get(asked, timeout=aiohttp.ClientTimeout(total=40)) as answer:
        assert answer.status == 503
    assert time.monotonic() - asked_at < ANSWER_SECONDS + 1
    assert all(link.counts.held for link in links)
    assert [link.counts.resets for link in links] == resets
    for link in links:
        link.heal()
    for reader in readers:
        await assert_whole(system, reader, words(30), within=25)


@pytest.mark.long
async def test_over_a_dead_link_to_the_database_an_idle_process_is_gone_in_time(
    postgres_system: System,
) -> None:
    """Stopped with several connections in its pool, none of which is ever closed by the server."""
    system = postgres_system
    members = [one for one in (*system.relays, *system.workers) if one.database_link]
    links = [one.database_link for one in members if one.database_link]
    asked = await asyncio.gather(*(system.ask("demo-words-5") for _ in range(16)))
    await asyncio.gather(*(system.ended(one) for one in asked))
    await asyncio.gather(*(system.resource(one) for one in asked))
    assert sum(link.open_connections for link in links) > 3 * len(links)
    for link in links:
        link.black_hole()
    took = await asyncio.gather(*(_gone_after(one) for one in members))
    assert all(link.counts.held for link in links)
    for one, seconds in zip(members, took, strict=True):
        assert seconds < (RELAY_IS_GONE if one in system.relays else WORKER_IS_GONE), one.name
        assert "Exception closing" not in one.output
    for link in links:
        link.heal()
    await asyncio.gather(*(one.start() for one in members))
    await assert_whole(system, await system.asked("demo-words-5"), words(5))


async def _gone_after(member: Member) -> float:
    asked_at = member.ask_to_stop()
    return await member.stopped(within=60) - asked_at


@pytest.mark.long
async def test_a_worker_whose_connections_to_the_database_die_keeps_its_lease_over_new_ones(
    start_system: Start,
) -> None:
    """As behind a router that has forgotten them: what is open hears nothing, nobody is told."""
    lease = 10.0
    system = await start_system(postgres=True, relays=1, workers=1, lease=lease)
    [worker] = system.workers
    readers = await wave(system, 8, "demo-words-300-pace-20")
    link = worker.database_link
    assert link is not None
    link.forget_open()
    await asyncio.sleep(lease + 1)
    assert len(await system.held_by(worker)) == 8
    assert link.counts.held
    assert worker.output.count("no heartbeat: waiting") == 1
    for reader in readers:
        await assert_whole(system, reader, words(300))
    link.heal()
