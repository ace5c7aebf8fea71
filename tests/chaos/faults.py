"""The faults, each with its end and with evidence that it took place.

A fault returns what proves it, and raises AssertionError where it did not happen.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import redis

from tests.chaos.member import Member
from tests.chaos.records import Disturbance, Loss
from tests.chaos.system import System
from tests.services import Direction, PostgresServer, eventually

MAY_START_SECONDS = 40.0
"""How long what is to be hit may be starting, since another fault hit it before."""
SILENT_SHARE = 0.5
"""A worker whose heartbeats are held back for so much of a lease may be silent for all of it."""


@dataclass(frozen=True, slots=True)
class Blow:
    """What took place: what proves it, which workers it hit (None: all of them), and lost how."""

    evidence: str
    workers: frozenset[str] | None = None
    loss: Loss | None = None


Strike = Callable[[System, random.Random], Awaitable[Blow]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: how it strikes and ends, what it hits, and what it may excuse."""

    name: str
    strike: Strike
    where: Literal["process", "service"]
    deafens: bool = False
    """Whether those that it hits can't hear of a cancellation meanwhile."""
    loses_data: bool = False
    cuts_model: bool = False
    needs_postgres: bool = False


async def strike(system: System, fault: Fault, rng: random.Random) -> Disturbance:
    """Waits until a generation is in flight, strikes, and says what took place."""
    in_flight: dict[str, str] = {}

    async def is_at_work() -> bool:
        nonlocal in_flight
        in_flight = await system.in_flight()
        return bool(in_flight)

    await eventually(is_at_work, within=30.0, every=0.02)
    began = time.monotonic()
    blow = await fault.strike(system, rng)
    return Disturbance(
        fault.name, began, time.monotonic(), len(in_flight), blow.evidence, blow.workers, blow.loss,
        deafens=fault.deafens, loses_data=fault.loses_data, cuts_model=fault.cuts_model,
    )  # fmt: skip


# Processes.


async def _busiest(system: System) -> Member:
    """The worker that holds most."""
    held = {one.name: len(await system.held_by(one)) for one in system.workers if one.running}
    return max((one for one in system.workers if one.running), key=lambda one: held[one.name])


async def worker_killed(system: System, rng: random.Random) -> Blow:
    worker = await _busiest(system)
    held, ids = len(await system.held_by(worker)), worker.ids_now
    pid = worker.kill()
    await asyncio.sleep(rng.uniform(0, 0.5))
    await worker.start()
    evidence = f"pid {pid} died of SIGKILL with {held} generations, {worker.pid} took its place"
    return Blow(evidence, ids, "killed")


async def worker_stopped(system: System, rng: random.Random) -> Blow:
    worker = await _busiest(system)
    held, ids = len(await system.held_by(worker)), worker.ids_now
    asked = worker.ask_to_stop()
    took = await worker.stopped(within=30.0) - asked
    await worker.start()
    return Blow(f"SIGTERM with {held} generations, exit 0 after {took:.2f} s", ids, "stopped")


async def worker_frozen(system: System, rng: random.Random) -> Blow:
    worker = await _busiest(system)
    held = len(await system.held_by(worker))
    worker.freeze()
    try:
        await asyncio.sleep(system.lease + rng.uniform(0.3, 1.0))
        left = len(await system.held_by(worker))
    finally:
        worker.thaw()
    return Blow(
        f"pid {worker.pid} stood still beyond its lease: of {held} generations {left} were left",
        worker.ids_now,
        "silent",
    )


async def relay_killed(system: System, rng: random.Random) -> Blow:
    relay = rng.choice(system.relays)
    streams = relay.sockets(relay.port)
    pid = relay.kill()
    await relay.start()
    return Blow(f"pid {pid} died of SIGKILL with {streams} connections")


async def relay_stopped(system: System, rng: random.Random) -> Blow:
    relay = rng.choice(system.relays)
    streams = relay.sockets(relay.port)
    asked = relay.ask_to_stop()
    took = await relay.stopped(within=15.0) - asked
    await relay.start()
    return Blow(f"SIGTERM with {streams} connections, exit 0 after {took:.2f} s")


async def relay_frozen(system: System, rng: random.Random) -> Blow:
    relay = rng.choice(system.relays)
    relay.freeze()
    try:
        await asyncio.sleep(rng.uniform(0.5, 2.0))
    finally:
        relay.thaw()
    return Blow(f"pid {relay.pid} stood still")


async def readers_dropped(system: System, rng: random.Random) -> Blow:
    dropped = 0

    def have_dropped() -> bool:
        nonlocal dropped
        dropped = sum(one.drop() for one in system.readers if one.end is None)
        return dropped > 0

    await eventually(have_dropped, within=MAY_START_SECONDS, every=0.05)
    return Blow(f"{dropped} readers lost their connection")


# Redis.


async def redis_killed(system: System, rng: random.Random) -> Blow:
    pid = system.redis.pid
    system.redis.kill()
    await asyncio.sleep(rng.uniform(0.1, 1.5))
    system.redis.restart(keep_data=True)
    return Blow(f"pid {pid} died of SIGKILL, {system.redis.pid} came up with its data")


async def redis_lost(system: System, rng: random.Random) -> Blow:
    pid = system.redis.pid
    system.redis.kill()
    await asyncio.sleep(rng.uniform(0.1, 1.0))
    system.redis.restart(keep_data=False)
    return Blow(f"pid {pid} died of SIGKILL, {system.redis.pid} came up empty")


async def redis_flushed(system: System, rng: random.Random) -> Blow:
    keys = system.redis.command("DBSIZE")
    system.redis.command("FLUSHALL")
    return Blow(f"{keys} keys were deleted")


async def redis_frozen(system: System, rng: random.Random) -> Blow:
    system.redis.freeze()
    try:
        await asyncio.sleep(rng.uniform(0.5, 3.0))
    finally:
        system.redis.thaw()
    return Blow(f"pid {system.redis.pid} stood still")


async def redis_full(system: System, rng: random.Random) -> Blow:
    system.redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        with contextlib.suppress(redis.exceptions.OutOfMemoryError):
            system.redis.command("SET", "more", "than fits")
            raise AssertionError("Redis took a key though it is full")
        await asyncio.sleep(rng.uniform(0.5, 2.0))
    finally:
        system.redis.command("CONFIG", "SET", "maxmemory", "0")
    return Blow("a write was refused with OOM")


async def pubsub_cut(system: System, rng: random.Random) -> Blow:
    killed: object = 0

    def is_cut() -> bool:
        # Right after another fault nobody may be subscribed yet.
        nonlocal killed
        killed = system.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        return bool(killed)

    await eventually(is_cut, within=MAY_START_SECONDS, every=0.05)
    return Blow(f"{killed} subscribing connections were killed")


def _with_redis(system: System) -> list[Member]:
    return [one for one in (*system.relays, *system.workers) if one.running and one.redis_link]


async def redis_link_cut(system: System, rng: random.Random) -> Blow:
    member = rng.choice(_with_redis(system))
    link = member.redis_link
    assert link is not None
    # A process that is starting has none yet.
    await eventually(lambda: link.open_connections > 0, within=MAY_START_SECONDS)
    return Blow(f"{link.abort()} connections of {member.name} were reset")


async def redis_link_dead(system: System, rng: random.Random) -> Blow:
    member = rng.choice(_with_redis(system))
    assert member.redis_link is not None
    held = member.redis_link.counts.held
    member.redis_link.black_hole()
    try:
        await asyncio.sleep(rng.uniform(0.5, 4.0))
        if rng.random() < 0.5:
            member.redis_link.abort()
    finally:
        member.redis_link.heal()
    waited = member.redis_link.counts.held - held
    return Blow(f"nothing passed for {member.name}, {waited} chunks waited")


async def redis_link_slow(system: System, rng: random.Random) -> Blow:
    member = rng.choice(_with_redis(system))
    link = member.redis_link
    assert link is not None
    delayed = link.counts.delayed
    link.delay_ms = dict.fromkeys(Direction, rng.uniform(5, 60))
    try:
        await eventually(lambda: link.counts.delayed > delayed, within=MAY_START_SECONDS)
        await asyncio.sleep(rng.uniform(0.3, 1.5))
    finally:
        link.delay_ms = dict.fromkeys(Direction, 0.0)
    return Blow(f"{link.counts.delayed - delayed} chunks of {member.name} came late")


# The database.


async def stop(postgres: PostgresServer) -> None:
    """End it in order; its clients' proxies must go on meanwhile, for it waits for them."""
    await asyncio.to_thread(postgres.stop)


async def database_crashed(system: System, rng: random.Random) -> Blow:
    assert system.postgres is not None
    pid = system.postgres.pid
    system.postgres.restart()
    return Blow(f"pid {pid} crashed, {system.postgres.pid} recovered")


async def database_away(system: System, rng: random.Random) -> Blow:
    assert system.postgres is not None
    await stop(system.postgres)
    try:
        await asyncio.sleep(rng.uniform(0.5, 2 * system.lease))
    finally:
        system.postgres.start()
    return Blow(f"it was down, {system.postgres.pid} came up")


async def database_sessions_ended(system: System, rng: random.Random) -> Blow:
    assert system.postgres is not None
    ended = system.postgres.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert int(ended), "nobody was connected"
    return Blow(f"{ended} sessions were terminated")


async def database_link_cut(system: System, rng: random.Random) -> Blow:
    member = rng.choice(_with_redis(system))
    link = member.database_link
    assert link is not None
    await eventually(lambda: link.open_connections > 0, within=MAY_START_SECONDS)
    return Blow(f"{link.abort()} database connections of {member.name} were reset")


async def database_link_dead(system: System, rng: random.Random) -> Blow:
    member = rng.choice(_with_redis(system))
    link = member.database_link
    assert link is not None
    held, ids, seconds = link.counts.held, member.ids_now, rng.uniform(0.5, 2 * system.lease)
    link.black_hole()
    try:
        await asyncio.sleep(seconds)
    finally:
        link.heal()
    waited = link.counts.held - held
    # The last heartbeat before it is up to a part of the lease old.
    lost = seconds > SILENT_SHARE * system.lease
    return Blow(
        f"nothing passed to {member.name}'s database for {seconds:.1f} s, {waited} chunks waited",
        ids | member.ids_now,
        "silent" if lost else None,
    )


async def database_cut_at_commit(system: System, rng: random.Random) -> Blow:
    worker = await _busiest(system)
    link = worker.database_link
    assert link is not None
    cut = link.cut_before if rng.random() < 0.5 else link.cut_after
    trap = cut(b"COMMIT", Direction.UP, times=rng.randint(1, 4))
    try:
        await trap.wait(within=15.0)
        await asyncio.sleep(rng.uniform(0, 0.5))
    finally:
        link.traps.remove(trap)
    return Blow(
        f"{trap.sprung} COMMITs of {worker.name} were cut {trap.where} they arrived",
        worker.ids_now,
    )


# The model.


async def model_link_cut(system: System, rng: random.Random) -> Blow:
    await eventually(lambda: system.model_link.open_connections > 0, within=MAY_START_SECONDS)
    return Blow(f"{system.model_link.abort()} connections to the model were reset")


FAULTS = (
    Fault("worker killed", worker_killed, "process"),
    Fault("worker stopped", worker_stopped, "process"),
    Fault("worker frozen", worker_frozen, "process", deafens=True),
    Fault("relay killed", relay_killed, "process"),
    Fault("relay stopped", relay_stopped, "process"),
    Fault("relay frozen", relay_frozen, "process"),
    Fault("readers dropped", readers_dropped, "process"),
    Fault("Redis killed", redis_killed, "service"),
    Fault("Redis lost", redis_lost, "service", loses_data=True),
    Fault("Redis flushed", redis_flushed, "service", loses_data=True),
    Fault("Redis frozen", redis_frozen, "service"),
    Fault("Redis full", redis_full, "service"),
    Fault("pub/sub cut", pubsub_cut, "service"),
    Fault("Redis link cut", redis_link_cut, "service"),
    Fault("Redis link dead", redis_link_dead, "service"),
    Fault("Redis link slow", redis_link_slow, "service"),
    Fault("database crashed", database_crashed, "service", deafens=True, needs_postgres=True),
    Fault("database away", database_away, "service", deafens=True, needs_postgres=True),
    Fault(
        "database sessions ended",
        database_sessions_ended,
        "service",
        deafens=True,
        needs_postgres=True,
    ),
    Fault("database link cut", database_link_cut, "service", needs_postgres=True),
    Fault("database link dead", database_link_dead, "service", deafens=True, needs_postgres=True),
    Fault("COMMIT cut", database_cut_at_commit, "service", deafens=True, needs_postgres=True),
    Fault("model link cut", model_link_cut, "service", cuts_model=True),
)
