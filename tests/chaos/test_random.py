"""Many generations, many readers, and faults by chance: no promise is broken, whatever comes.

`CHAOS_SEED`, `CHAOS_GENERATIONS` and `CHAOS_FAULTS` choose the run; its seed and figures are
printed. The history is checked by `tests/chaos/history.py`.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.chaos.conftest import Start
from tests.chaos.faults import FAULTS, Fault, strike
from tests.chaos.judging import judged, report
from tests.chaos.leaks import assert_nothing_left, take_census
from tests.chaos.ledger import noted
from tests.chaos.load import PHASES, Load
from tests.chaos.reader import Reader
from tests.chaos.records import Disturbance
from tests.chaos.sdk_reader import clients_of
from tests.chaos.system import System
from tests.services import eventually

SETTLE_SECONDS = 60.0


Tell = Callable[[str], None]


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Tell:
    """Writes past pytest's capture: the figures of a run are its proof."""

    def write(text: str) -> None:
        with capfd.disabled():
            sys.stdout.write(f"\n{text}\n")
            sys.stdout.flush()

    return write


def seed_of_run() -> int:
    """The seed that was asked for, else a new one."""
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 31))


async def plague(
    system: System, faults: Sequence[Fault], times: int, rng: random.Random
) -> list[Disturbance]:
    """So many of these faults, one after the other; each kind once before any comes twice."""
    struck: list[Disturbance] = []
    bag: list[Fault] = []
    while len(struck) < times:
        bag = bag or rng.sample(faults, len(faults))
        struck.append(await strike(system, bag.pop(), rng))
        await asyncio.sleep(rng.uniform(0.0, 0.6))
    return struck


async def run(
    system: System, seed: int, generations: int, faults: int, at_once: int, tell: Tell
) -> None:
    """The whole run and its judgement; AssertionError with everything that was broken."""
    rng = random.Random(seed)
    system.rng.seed(rng.random())
    new = await take_census(system)
    began = time.monotonic()
    async with clients_of([one.url for one in system.relays]) as clients, noted(system):
        load = Load(system, random.Random(rng.random()), at_once, clients)
        disturbances = await wreck(system, load, rng, generations, faults)
        await load.over(SETTLE_SECONDS)
        broken = await judged(system, load.asked, disturbances, load.lines, clients)
    tell(figures(seed, load, disturbances, time.monotonic() - began, await states(system, load)))
    if broken:
        raise AssertionError(report(seed, broken, disturbances))
    assert load.counts["late"] == 0, f"seed {seed}: {load.counts['late']} readers never ended"
    assert len(load.asked) >= generations
    cancelled = [load.counts[f"cancelled {phase}"] for phase in PHASES]
    assert sum(cancelled) > 0
    assert min(cancelled) >= generations // 80
    assert len(disturbances) >= faults - 1
    assert all(one.in_flight for one in disturbances)
    await assert_nothing_left(system, new)


async def wreck(
    system: System, load: Load, rng: random.Random, generations: int, faults: int
) -> list[Disturbance]:
    """Strikes so often, and until so many were asked for; every disturbance, in order."""
    asking = asyncio.create_task(load.run())
    wanted = [one for one in FAULTS if system.postgres is not None or not one.needs_postgres]
    places = {
        place: [one for one in wanted if one.where == place] for place in ("process", "service")
    }
    share = {place: round(faults * len(kinds) / len(wanted)) for place, kinds in places.items()}
    try:
        # A group: what one of them failed at is not to be hidden by what the other still does.
        async with asyncio.TaskGroup() as group:
            plagues = [
                group.create_task(plague(system, kinds, share[place], random.Random(rng.random())))
                for place, kinds in places.items()
            ]
        await eventually(lambda: len(load.asked) >= generations, within=600, every=0.2)
        load.stopping = True
        await asking
    except BaseException:
        asking.cancel()
        await load.abandon()
        raise
    return sorted((one for each in plagues for one in each.result()), key=lambda one: one.began)


async def states(system: System, load: Load) -> Counter[str]:
    """How the generations ended, failures by their code."""
    ids = {one.id for one in load.asked}
    rows = await system.rows("SELECT id, state, error_code, attempt FROM generations")
    counted = Counter(code or state for id_, state, code, _ in rows if id_ in ids)
    counted["begun anew"] = sum(attempt > 1 for id_, _, _, attempt in rows if id_ in ids)
    return counted


def figures(
    seed: int, load: Load, struck: Sequence[Disturbance], seconds: float, ended: Counter[str]
) -> str:
    """What was done, and what became of it."""
    readers: list[Reader] = [reader for one in load.asked for reader in one.readers]
    by_sdk = [reader for one in load.asked for reader in one.sdk_readers]
    kinds = Counter(one.fault for one in struck)
    hit = sorted(one.in_flight for one in struck)
    resets = Counter(seen.event.data["reason"] for one in readers for seen in one.resets)
    return "\n".join(
        (
            f"chaos: seed {seed}, {seconds:.0f} s",
            f"  {len(load.asked)} generations: {dict(ended.most_common())}",
            f"  {len(readers)} readers, {sum(one.connections for one in readers)} connections,"
            f" {sum(len(one.seen) for one in readers)} events, resets {dict(resets)},"
            f" {dict(load.counts)}",
            f"  {len(load.lines)} conversations went on, with"
            f" {sum(len(one.asked) for one in load.lines)} generations and"
            f" {sum(len(one.refusals) for one in load.lines)} refusals",
            f"  and {len(by_sdk)} readers through the SDK, {sum(one.cuts for one in by_sdk)} cuts,"
            f" {sum(len(one.events) for one in by_sdk)} events",
            f"  {len(struck)} faults, each with {hit[0]} to {hit[-1]} generations running"
            f" (median {hit[len(hit) // 2]}): {dict(kinds.most_common())}",
        )
    )


@pytest.mark.timeout(120)
async def test_a_short_random_run_breaks_no_promise(system: System, tell: Tell) -> None:
    await run(system, seed_of_run(), generations=24, faults=8, at_once=8, tell=tell)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_long_random_run_breaks_no_promise(start_system: Start, tell: Tell) -> None:
    system = await start_system(postgres=True, workers=3)
    generations = int(os.environ.get("CHAOS_GENERATIONS", "240"))
    faults = int(os.environ.get("CHAOS_FAULTS", "115"))
    await run(system, seed_of_run(), generations, faults, at_once=16, tell=tell)
