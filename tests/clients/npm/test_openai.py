"""The openai SDK of npm: every call, and every place to be cut."""

from pathlib import Path
from typing import Any

from tests.clients.cutter import Cut
from tests.clients.npm.node import drive
from tests.clients.openai_python import generation_of
from tests.clients.place import Place
from tests.clients.told import SAID
from tests.services import DelayingProxy, Direction

PACED = {"model": "demo-echo-pace-60", "input": SAID}
FAST = {"model": "demo-fast-echo", "input": SAID}


async def done(node: Path, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """What became of these tasks, done at the same time."""
    found: list[dict[str, Any]] = await drive(node, "openai.mjs", tasks)
    return found


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")


def output_text(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


async def test_cut_between_and_inside_events_it_ends_with_the_committed_text(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    [created] = await done(node, {"do": "once", "url": place.url, "body": PACED})
    plans = [place.plan(Cut(number, inside)) for number in range(1, 24) for inside in (False, True)]
    fresh = [place.plan(Cut(1)), place.plan(Cut(7, inside=True)), place.plan(Cut(8), Cut(2))]
    followed = await done(
        node,
        *(
            {"do": "follow", "url": place.url + plan.path, "id": created["id"]}
            for plan in plans
        ),
        *({"do": "follow", "url": place.url + plan.path, "body": PACED} for plan in fresh),
    )  # fmt: skip
    assert sum(plan.made for plan in plans) > len(plans) / 2
    for plan, reader in zip([*plans, *fresh], followed, strict=True):
        # A cut at the very end goes unnoticed, for the last event was there.
        assert reader["errors"] <= plan.made
        assert reader["earlyEnds"] == 0
        events = reader["events"]
        assert [one["sequence_number"] for one in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.completed"
        assert text_of(events) == output_text(events[-1]["response"]) == SAID
        assert await place.committed(generation_of(reader["id"])) == SAID
    first, *others = [reader["events"] for reader in followed[: len(plans)]]
    assert all(events == first for events in others)


async def test_its_helper_rebuilds_a_response_from_any_number(place: Place, node: Path) -> None:
    await place.work.hire()
    [told] = await done(node, {"do": "follow", "url": place.url, "body": FAST})
    last = told["events"][-1]["sequence_number"]
    numbers = range(-1, last)
    rebuilt = await done(node, *(
        {"do": "rebuild", "url": place.url, "id": told["id"], "startingAfter": number}
        for number in numbers
    ))  # fmt: skip
    for number, one in zip(numbers, rebuilt, strict=True):
        assert one["numbers"] == list(range(number + 1, last + 1))
        assert one["final"]["output_text"] == SAID


async def test_all_other_calls_answer_as_it_expects(place: Place, node: Path) -> None:
    await place.work.hire()
    silent = "demo-fast-tokens-9-silent-after-3"
    [got] = await done(node, {"do": "calls", "url": place.url, "body": FAST, "silent": silent})
    assert got["ended"]["output_text"] == "one"
    assert (got["next"]["output_text"], got["next"]["previous_response_id"]) == (
        "two", got["ended"]["id"],
    )  # fmt: skip
    assert got["cancelled"]["status"] == "cancelled"
    assert [item["content"][0]["text"] for item in got["items"]] == ["one"]
    status, kind, message = got["gone"]
    assert (status, kind) == (404, "NotFoundError")
    assert "not found" in message
    assert got["refused"] == [400, "input", "invalid_request_error"]


async def test_its_own_tries_make_no_second_generation(place: Place, node: Path) -> None:
    await place.work.hire()
    async with DelayingProxy.before(place.url) as link:
        link.cut_before(b"HTTP/1.1 200", Direction.DOWN, times=2)
        url = link.url(place.url)
        [created] = await done(node, {"do": "once", "url": url, "body": FAST, "maxRetries": 2})
        assert link.counts.cuts == 2
    listed = (await place.http.get("/v1/generations")).json()["data"]
    assert [one["id"] for one in listed] == [generation_of(created["id"])]
