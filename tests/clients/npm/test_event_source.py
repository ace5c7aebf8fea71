"""The EventSource libraries of npm follow a generation as a browser does, wherever they are cut."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.cutter import Cut, Plan
from tests.clients.npm.node import drive
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID, told
from tests.relay.heard import assert_is_the_rest, text_of
from tests.services import eventually

STANDARD = ("eventsource", "undici")
LIBRARIES = (*STANDARD, "fetch-event-source")
CUTS = 16


async def follow(
    place: Place, node: Path, library: str, generation_id: str, plans: list[Plan], query: str = ""
) -> list[dict[str, Any]]:
    """What this library told each plan's reader; the worker begins once all are connected."""
    path = f"/v1/generations/{generation_id}/events{query}"
    wanted = {"library": library, "urls": [f"{place.url}{plan.path}{path}" for plan in plans]}
    reading = asyncio.create_task(drive(node, "event_source.mjs", wanted))
    await eventually(lambda: reading.done() or all(plan.requests for plan in plans), within=20)
    await place.work.hire()
    found: list[dict[str, Any]] = await reading
    return found


def cursors(plan: Plan) -> list[str | None]:
    """The `Last-Event-ID` of each request."""
    return [last_event_id for _, _, last_event_id in plan.requests]


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_stream_cut_between_any_two_events_is_heard_whole_and_once(
    place: Place, node: Path, library: str
) -> None:
    generation_id = await place.persona(json.dumps(DICTATED), "demo-dictated-pace-20")
    plans = [place.plan(Cut(number)) for number in range(CUTS)]
    readers = await follow(place, node, library, generation_id, plans)
    whole = await place.told(generation_id)
    assert {one.event for one in whole} >= {"file_delta", "file", "notice", "skill", "completed"}
    for plan, reader in zip(plans, readers, strict=True):
        assert plan.made == 1
        assert_is_the_rest(told(reader["events"]), whole)
        # A standard one is told by a 204 that there is no more; the other one never asks.
        first, _, *last = cursors(plan)
        assert first is None
        assert last == ([whole[-1].id] if library in STANDARD else [])


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_stream_cut_inside_any_event_is_heard_whole_and_once(
    place: Place, node: Path, library: str
) -> None:
    generation_id = await place.chat(SAID, "demo-echo-pace-20")
    plans = [place.plan(Cut(number, inside=True)) for number in range(CUTS)]
    readers = await follow(place, node, library, generation_id, plans)
    whole = await place.told(generation_id)
    assert text_of(whole) == SAID == await place.committed(generation_id)
    for plan, reader in zip(plans, readers, strict=True):
        assert plan.made == 1
        assert_is_the_rest(told(reader["events"]), whole)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_cursor_in_the_url_counts_for_the_first_request_only(
    place: Place, node: Path, library: str
) -> None:
    generation_id = await place.chat(SAID, "demo-echo-pace-200")
    await place.work.hire()
    await place.ended(generation_id)
    whole = await place.told(generation_id)
    after = place.plan(Cut(2), Cut(0))
    garbage = place.plan()
    readers = await follow(place, node, library, generation_id, [after], f"?after={whole[0].id}")
    assert_is_the_rest(told(readers[0]["events"]), whole, whole[0].cursor)
    assert after.made == 2
    readers = await follow(place, node, library, generation_id, [garbage], "?after=9.9.9")
    events = told(readers[0]["events"])
    assert events[0].data == {"reason": "unknown_cursor", "attempt": 1}
    assert_is_the_rest(events[1:], whole)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_second_attempt_begins_with_a_reset(place: Place, node: Path, library: str) -> None:
    first = await place.work.hire(grace=0)
    generation_id = await place.chat(SAID, "demo-echo-pace-20")
    plan = place.plan(Cut(6))
    reading = asyncio.create_task(follow(place, node, library, generation_id, [plan]))
    await eventually(lambda: plan.made == 1, within=20)
    await first.dismiss()
    events = told((await reading)[0]["events"])
    resets = [one.data for one in events if one.event == "reset"]
    assert resets == [{"reason": "handed_over", "attempt": 2}]
    assert text_of(events) == SAID == await place.committed(generation_id)
    assert events[-1].event == "completed"
