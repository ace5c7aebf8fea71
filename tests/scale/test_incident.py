"""The incident of docs/operations.md, step by step: the database goes while answers are written."""

from typing import Any

import pytest

from tests.chaos.system import Refused
from tests.chaos.waves import assert_whole, wave, words
from tests.scale.fleet import Fleet
from tests.services import eventually

pytestmark = pytest.mark.timeout(180)


async def test_an_incident_is_seen_understood_and_over_without_a_loss(fleet: Fleet) -> None:
    postgres = fleet.postgres
    assert postgres is not None
    readers = await wave(fleet, 4, "demo-words-60-pace-12")
    assert len(await fleet.in_flight()) == len(readers)
    postgres.stop()
    try:
        # 1. What is it? Readiness and doctor name the part.
        ready = await readiness(fleet)
        assert "not reachable" in ready["database"]
        assert ready["redis"] == "ok"
        status, told = await fleet.command("doctor")
        assert status == 1
        problems = {one["check"] for one in told["checks"] if one["verdict"] == "problem"}
        assert problems == {"database"}
        # 2. Who is hurt? New requests are refused in words, what runs is written on.
        with pytest.raises(Refused) as refused:
            await fleet.ask("demo-words-3")
        assert refused.value.problem["code"] in ("unavailable", "outcome_unknown")
        # 3. What waits? The ends of what ran are on the workers' disks.
        await eventually(lambda: all_wait(fleet, len(readers)), within=30, every=0.1)
    finally:
        postgres.start()
    # 4. It is back: what waited is committed by itself, and every reader hears its end.
    for reader in readers:
        await assert_whole(fleet, reader, words(60), within=30)
    await eventually(lambda: nothing_waits(fleet), within=30, every=0.5)
    _, failed = await fleet.command("generations", "list", "--state", "failed")
    assert not {one["id"] for one in failed["data"]} & {one.generation_id for one in readers}
    assert (await readiness(fleet))["ready"] is True


async def readiness(fleet: Fleet) -> dict[str, Any]:
    """What a relay says of itself."""
    async with fleet.http.get(f"{fleet.nginx_url}/readyz") as answer:
        told: dict[str, Any] = await answer.json()
        assert answer.status == (200 if told["ready"] else 503)
        return told


async def all_wait(fleet: Fleet, count: int) -> bool:
    """Whether every answer is over, and so many outcomes wait in the journals."""
    return await fleet.upstreams() == 0 and await in_journals(fleet) == count


async def in_journals(fleet: Fleet) -> int:
    """What `journal stats` tells."""
    _, told = await fleet.command("journal", "stats")
    pending: int = told["pending"]
    return pending


async def nothing_waits(fleet: Fleet) -> bool:
    """Whether every journal is empty."""
    return await in_journals(fleet) == 0
