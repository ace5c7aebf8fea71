"""httpx-sse, read in the loop that its README shows, hears a generation whole and once."""

import asyncio
import json

import httpx
from httpx_sse import aconnect_sse

from jobs.generation import TERMINAL_STATES
from tests.clients.cutter import Cut, Plan
from tests.clients.place import Place
from tests.clients.told import DICTATED, told
from tests.relay.heard import assert_is_the_rest

Events = list[tuple[str, str, str]]


async def follow(http: httpx.AsyncClient, url: str) -> Events:
    """All (id, name, data) up to the terminal event, over as many connections as it takes."""
    events: Events = []
    last_event_id, pause = "", 1.0
    while not events or events[-1][1] not in TERMINAL_STATES:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            async with aconnect_sse(http, "GET", url, headers=headers) as source:
                async for event in source.aiter_sse():
                    last_event_id = event.id
                    pause = pause if event.retry is None else event.retry / 1000
                    if event.data:
                        events.append((event.id, event.event, event.data))
        except httpx.TransportError:
            await asyncio.sleep(pause)
    return events


async def test_a_stream_cut_between_and_inside_events_is_heard_whole_and_once(place: Place) -> None:
    generation_id = await place.persona(json.dumps(DICTATED), "demo-dictated-pace-40")
    plans = [place.plan(Cut(number, inside)) for number in range(16) for inside in (False, True)]

    async def read(plan: Plan) -> Events:
        return await follow(place.http, f"{plan.path}/v1/generations/{generation_id}/events")

    async with asyncio.TaskGroup() as readers:
        reading = [readers.create_task(read(plan)) for plan in plans]
        await place.connected(plans)
        await place.work.hire()
    whole = await place.told(generation_id)
    for plan, reader in zip(plans, reading, strict=True):
        assert plan.made == 1
        assert_is_the_rest(told(reader.result()), whole)
