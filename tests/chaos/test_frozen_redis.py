"""With Redis frozen, what has much to announce waits for it once, and not once each."""

import time

import aiohttp
import pytest

from tests.chaos.conftest import Start
from tests.chaos.system import System
from tests.services import eventually

SILENT = "demo-fast-tokens-9-silent-after-3"
LINE = 20
SECONDS = 8.0
"""Some waits of two seconds, whatever the number."""


async def timed(system: System, method: str, path: str, body: object = None) -> tuple[int, float]:
    """The status of this call to the first relay, and how long it took."""
    began = time.monotonic()
    url = system.relays[0].url + path
    limit = aiohttp.ClientTimeout(total=100)
    async with system.http.request(method, url, json=body, timeout=limit) as answer:
        await answer.read()
    return answer.status, time.monotonic() - began


@pytest.mark.timeout(100)
async def test_who_interrupts_or_deletes_many_is_answered_in_some_seconds(
    start_system: Start,
) -> None:
    system = await start_system(relays=1, workers=1)
    first = await system.post(
        "/v1/generations", {"kind": "chat", "input": "first", "model": SILENT}
    )
    chat = {"kind": "chat", "model": "demo-words-3", "conversation_id": first["conversation_id"]}
    made = await system.post(
        "/v1/personas", {"name": "Ada", "brief": "Calm.", "model": "demo-fast"}
    )
    await eventually(lambda: _ended(system, made["id"]), within=20)
    persona = f"/v1/personas/{made['persona_id']}"
    await system.post(f"{persona}/refine", {"message": "first", "model": SILENT})
    for number in range(LINE):
        await system.post("/v1/generations", {**chat, "input": f"{number}", "on_active": "queue"})
        await system.post(f"{persona}/refine", {"message": f"{number}", "on_active": "queue"})
    system.redis.freeze()
    try:
        interrupting = {**chat, "input": "now", "on_active": "interrupt"}
        status, took = await timed(system, "POST", "/v1/generations", interrupting)
        assert (status, 1.5 < took < SECONDS) == (202, True), took
        status, took = await timed(system, "DELETE", persona)
        assert (status, took < SECONDS) == (204, True), took
    finally:
        system.redis.thaw()
    cancelled = await system.rows("SELECT count(*) FROM generations WHERE state = 'cancelled'")
    assert cancelled[0][0] >= 2 * LINE
    await system.at_rest(30)


async def _ended(system: System, generation_id: str) -> bool:
    return bool((await system.resource(generation_id))["state"] == "completed")


@pytest.mark.long
@pytest.mark.timeout(100)
async def test_many_that_are_overdue_expire_within_a_lease_of_their_time(
    start_system: Start,
) -> None:
    lease = 3.0
    system = await start_system(relays=1, workers=1, lease=lease, queue_expires_seconds=6)
    system.workers[0].kill()
    for number in range(40):
        await system.post(
            "/v1/generations", {"kind": "chat", "input": f"{number}", "model": "demo-words-3"}
        )
    system.redis.freeze()
    try:
        expired = "SELECT count(*) FROM generations WHERE state = 'expired'"

        async def all_of_them() -> bool:
            return bool((await system.rows(expired))[0][0] == 40)

        await eventually(all_of_them, within=30)
    finally:
        system.redis.thaw()
    [(late,)] = await system.rows("SELECT max(finished_at - expires_at) FROM generations")
    assert late < lease * 1000, late
