"""What became of each generation, looked at once all is over, and every rule that it broke."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jobs import keys
from tests.chaos.changes import Change
from tests.chaos.conftest import MAX_ATTEMPTS
from tests.chaos.history import violations
from tests.chaos.ledger import changes
from tests.chaos.lines import Line, line_violations
from tests.chaos.records import Asked, Disturbance, Truth, Violation
from tests.chaos.sdk_reader import replay_of
from tests.chaos.system import System
from tests.relay.heard import Heard


async def replayed(system: System, asked: Asked) -> list[Heard]:
    """What a reader is told that comes when all is over."""
    reader = system.read(asked.id, name="replay")
    await reader.finished(within=20)
    return reader.numbered


async def replayed_by_sdk(asked: Asked, clients: Sequence[Any]) -> list[list[Any]]:
    """What a reader through the SDK is told that comes when all is over."""
    names = {one.response_id for one in asked.sdk_readers}
    return [await replay_of(clients[0], name) for name in names]


async def truth_of(
    system: System, asked: Asked, clients: Sequence[Any], changed: Sequence[Change]
) -> Truth:
    """What the system says of it now, after these changes; its log in Redis is gone afterwards."""
    resource = await system.resource(asked.id)
    turns = await system.turns(asked.id)
    if resource["state"] in ("queued", "running"):
        return Truth(resource, turns, [], [], changes=tuple(changed))
    from_log, by_sdk = await replayed(system, asked), await replayed_by_sdk(asked, clients)
    system.redis.command("DEL", keys.log(asked.id))
    from_sql = await replayed(system, asked)
    by_sdk += await replayed_by_sdk(asked, clients)
    return Truth(resource, turns, from_log, from_sql, tuple(by_sdk), tuple(changed))


async def judged(
    system: System,
    asked: Iterable[Asked],
    disturbances: Sequence[Disturbance],
    lines: Iterable[Line],
    clients: Sequence[Any] = (),
) -> list[Violation]:
    """Every rule that is broken, of what was asked and noted (`ledger.noted`)."""
    gate = asyncio.Semaphore(20)
    by_id: dict[str, list[Change]] = {}
    by_conversation: dict[str, list[Change]] = {}
    for change in await changes(system):
        by_id.setdefault(change.generation_id, []).append(change)
        by_conversation.setdefault(change.conversation_id, []).append(change)
    workers = {name for one in system.workers for name in one.worker_ids}

    async def judge(one: Asked) -> list[Violation]:
        async with gate:
            truth = await truth_of(system, one, clients, by_id.get(one.id, []))
        return violations(one, truth, disturbances, workers=workers, max_attempts=MAX_ATTEMPTS)

    async def judge_line(line: Line) -> list[Violation]:
        async with gate:
            shown = await system.get(f"/v1/conversations/{line.conversation_id}")
        return line_violations(line, by_conversation[line.conversation_id], shown)

    found = await asyncio.gather(
        *(judge(one) for one in asked), *(judge_line(line) for line in lines)
    )
    return [violation for one in found for violation in one]


def report(seed: int, broken: Sequence[Violation], struck: Sequence[Disturbance]) -> str:
    """What was broken, and what had been done."""
    rules = Counter(one.rule for one in broken)
    shown = "\n\n".join(map(str, broken[:6]))
    faults = "\n".join(
        f"  {one.began:.2f} to {one.ended:.2f} {one.fault}, {one.in_flight} running: {one.evidence}"
        for one in struck
    )
    return f"CHAOS_SEED={seed}: {dict(rules)}\n\n{shown}\n\nfaults:\n{faults}"
