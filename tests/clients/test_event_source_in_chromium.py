"""Chromium's own EventSource hears a generation whole and once, and stops by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.clients.cutter import Cut, Plan
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID, told
from tests.relay.heard import assert_is_the_rest, text_of
from tests.services import eventually

FOLLOW = """
url => new Promise(resolve => {
  const events = [];
  const source = new EventSource(url);
  const names = "status token file_delta file skill notice reset heartbeat idle " +
    "completed failed cancelled expired";
  for (const name of names.split(" "))
    source.addEventListener(name, event => events.push([event.lastEventId, name, event.data]));
  source.onerror = () => source.readyState === EventSource.CLOSED && resolve(events);
})
"""


@pytest.fixture
async def page(chromium: Browser, place: Place) -> AsyncIterator[Page]:
    """A page of the relay's own origin."""
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(place.url)
    yield page
    await context.close()


async def follow(page: Page, place: Place, plan: Plan, generation_id: str, query: str = "") -> Any:
    """All (id, name, data) that the page is told until its EventSource closes."""
    url = f"{place.url}{plan.path}/v1/generations/{generation_id}/events{query}"
    return await page.evaluate(FOLLOW, url)


async def test_streams_cut_between_and_inside_events_are_heard_whole_and_once(
    page: Page, place: Place
) -> None:
    generation_id = await place.persona(json.dumps(DICTATED), "demo-dictated-pace-20")
    # No more than four at once: a browser opens six connections to a host, and the page needs some.
    plans = [
        place.plan(*(Cut(events, inside) for events in range(first, first + 3)))
        for first in (0, 3)
        for inside in (False, True)
    ]
    async with asyncio.TaskGroup() as readers:
        reading = [readers.create_task(follow(page, place, plan, generation_id)) for plan in plans]
        await place.connected(plans)
        await place.work.hire()
    whole = await place.told(generation_id)
    for plan, reader in zip(plans, reading, strict=True):
        assert plan.made == 3
        assert_is_the_rest(told(reader.result()), whole)
        # It was told by a 204 that there is no more, and asked no further.
        assert plan.requests[-1][2] == whole[-1].id
        assert len(plan.requests) == 5


async def test_a_second_attempt_begins_with_a_reset(page: Page, place: Place) -> None:
    first = await place.work.hire(grace=0)
    generation_id = await place.chat(SAID, "demo-echo-pace-20")
    plan = place.plan(Cut(6))
    reading = asyncio.create_task(follow(page, place, plan, generation_id))
    await eventually(lambda: plan.made == 1, within=20)
    await first.dismiss()
    await place.work.hire()
    events = told(await reading)
    resets = [one.data for one in events if one.event == "reset"]
    assert resets == [{"reason": "handed_over", "attempt": 2}]
    assert text_of(events) == SAID == await place.committed(generation_id)


async def test_a_cursor_that_cannot_be_right_is_a_reset_and_never_an_error(
    page: Page, place: Place
) -> None:
    await place.work.hire()
    generation_id = await place.chat(SAID, "demo-fast-echo")
    await place.ended(generation_id)
    plan = place.plan()
    reset, *events = told(await follow(page, place, plan, generation_id, "?after=9.9.9"))
    assert reset.data == {"reason": "unknown_cursor", "attempt": 1}
    assert_is_the_rest(events, await place.told(generation_id))
