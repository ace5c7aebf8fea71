"""How each generation of a long conversation ended is told, however many ended after it."""

import asyncio

from playwright.async_api import expect

from tests.browser.visit import Visit
from tests.services.waiting import eventually

COUNT = 24


async def test_the_oldest_of_many_failures_says_so_once_it_is_seen(visit: Visit) -> None:
    body = {"kind": "chat", "input": "Break off", "model": "demo-truncated-after-2-fast"}
    first = await visit.post("/v1/generations", body)
    body |= {"conversation_id": first["conversation_id"], "on_active": "queue"}
    await asyncio.gather(*(visit.post("/v1/generations", body) for _ in range(COUNT - 1)))
    place = f"/v1/conversations/{first['conversation_id']}"

    async def at_rest() -> bool:
        return (await visit.api(place)).json()["active_generation"] is None

    await eventually(at_rest, within=30, every=0.1)
    await visit.page.goto(f"{visit.url}/#/chat/{first['conversation_id']}")
    await expect(visit.test_id("turn-user")).to_have_count(COUNT)
    await expect(visit.test_id("turn-outcome").last).to_be_visible()
    oldest = visit.page.locator(f'.outcome[data-generation="{first["id"]}"]')
    # What nobody has come near to is not asked for.
    await expect(oldest).to_have_count(0)
    await visit.test_id("turn-user").first.scroll_into_view_if_needed()
    await expect(oldest).to_be_in_viewport()
    await expect(oldest.get_by_test_id("retry")).to_be_visible()
