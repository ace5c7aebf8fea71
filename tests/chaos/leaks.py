"""What must be left when everything is over: the processes that were started, and nothing else."""

from collections import Counter
from dataclasses import dataclass

import psutil

from tests.chaos.member import Member
from tests.chaos.system import System
from tests.services import eventually

POOLED_FILES = 100
"""What the pools of a process may keep open: to Redis, the database and the model."""


@dataclass(frozen=True, slots=True)
class Census:
    """The asyncio tasks of each relay and worker, and how many processes the test run has."""

    tasks: dict[str, Counter[str]]
    processes: int


async def take_census(system: System) -> Census:
    """Of a system at rest."""
    members = (*system.relays, *system.workers)
    tasks = {one.name: await _lasting(one) for one in members}
    return Census(tasks, len(psutil.Process().children()))


async def assert_nothing_left(system: System, before: Census) -> None:
    """No stream, task, connection or process is left of all that was done since the census."""
    for reader in system.readers:
        await reader.leave()
    await system.at_rest()
    for relay in system.relays:
        await eventually(lambda relay=relay: relay.sockets(relay.port) == 0, within=10.0, every=0.1)
    for member in (*system.relays, *system.workers):
        await _settled(member, before.tasks[member.name])
        assert member.files() < POOLED_FILES, f"{member.name} holds {member.files()} files"
        assert psutil.Process(member.pid).children() == []
    assert len(psutil.Process().children()) == before.processes


async def _settled(member: Member, wanted: Counter[str]) -> None:
    found: Counter[str] = Counter()

    async def is_settled() -> bool:
        nonlocal found
        found = await _lasting(member)
        return found == wanted

    try:
        await eventually(is_settled, within=10.0, every=0.2)
    except TimeoutError:
        raise AssertionError(f"{member.name} has {found}, and had {wanted}") from None


async def _lasting(member: Member) -> Counter[str]:
    """The tasks that are there whenever one looks: a heartbeat's statement is not."""
    tasks = await member.tasks()
    for _ in range(4):
        tasks &= await member.tasks()
    if tasks["_shutdown_watcher"] == 1:
        # sse-starlette's own, one from a process's first stream on.
        del tasks["_shutdown_watcher"]
    return tasks
