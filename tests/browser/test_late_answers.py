"""An answer that comes late brings nothing back that is gone, and is not thrown away with it."""

import asyncio
from typing import Any

from playwright.async_api import Route, expect

from tests.browser.stage import frame
from tests.browser.visit import Visit


async def test_a_deletion_that_is_told_while_the_list_is_read_leaves_the_others_in_it(
    visit: Visit,
) -> None:
    bodies = [{"name": name, "brief": "An admiral.", "model": "demo-fast"} for name in ("Al", "Bo")]
    gone, kept = [(await visit.post("/v1/personas", body))["persona_id"] for body in bodies]
    listed, told = asyncio.Event(), asyncio.Event()
    feeds: list[Route] = []

    async def feed(route: Route) -> None:
        feeds.append(route)
        if len(feeds) > 1:
            # It reads on, and so has taken what the first one told.
            told.set()
            return
        await listed.wait()
        deleted: dict[str, Any] = {"personas": [gone], "generations": []}
        await route.fulfill(body=frame("deleted", None, deleted), content_type="text/event-stream")

    async def late(route: Route) -> None:
        answer = await route.fetch()
        listed.set()
        await told.wait()
        await route.fulfill(response=answer)

    await visit.page.route("**/v1/feed", feed)
    await visit.page.route("**/v1/personas?*", late)
    await visit.open()
    personas = visit.test_id("personas")
    await expect(personas.locator(f'a[href="#/personas/{kept}"]')).to_have_count(1)
    await expect(personas.locator(f'a[href="#/personas/{gone}"]')).to_have_count(0)
    await visit.page.unroute_all(behavior="ignoreErrors")
