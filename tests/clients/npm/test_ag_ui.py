"""AG-UI's HttpAgent, unmodified: its messages end with the committed answer, or the run fails."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.clients.cutter import Cut, everywhere
from tests.clients.npm.node import drive
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID
from tests.services import eventually

Shown = dict[str, Any]


async def run(node: Path, *pages: dict[str, Any]) -> list[list[Shown]]:
    """What each page had after each of its steps; all run at once, and none is warned."""
    found = await drive(node, "ag_ui.mjs", pages)
    assert found["warnings"] == []
    shown: list[list[Shown]] = found["pages"]
    return shown


def page(
    place: Place, thread: str, model: str, *steps: dict[str, Any], path: str = "", **props: Any
) -> dict[str, Any]:
    """A page on this thread; `path` is a plan's, all else is forwarded."""
    url = f"{place.url}{path}/ag-ui"
    return {"url": url, "thread": thread, "props": {"model": model, **props}, "steps": list(steps)}


def say(text: str = SAID, run_id: str = "r1", **more: Any) -> dict[str, Any]:
    return {"act": "run", "run": run_id, "text": text, **more}


def attach(run_id: str = "r1") -> dict[str, Any]:
    return {"act": "run", "run": run_id}


def texts(shown: Shown) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in shown["messages"]]


def last(shown: Shown) -> dict[str, Any]:
    event: dict[str, Any] = shown["events"][-1]
    return event


async def test_a_run_ends_with_what_is_committed(place: Place, node: Path) -> None:
    await place.work.hire()
    steps = (say("one", "r1"), say(SAID, "r2"))
    [[first, second]] = await run(node, page(place, "ü/1", "demo-fast-echo", *steps))
    assert (first["ended"], second["ended"]) == ("resolved", "resolved")
    assert texts(second) == [
        ("user", "one"), ("assistant", "one"), ("user", SAID), ("assistant", SAID)
    ]  # fmt: skip
    answered = second["messages"][-1]
    assert answered["content"] == await place.committed(answered["id"])
    end = last(second)
    assert (end["type"], end["outcome"]) == ("RUN_FINISHED", {"type": "success"})
    assert end["result"]["generation_id"] == answered["id"]
    assert end["usage"][0]["outputTokens"] > 0


async def test_a_live_run_cut_anywhere_is_rejected_and_then_attached_whole(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    plans = [place.plan(cut) for cut in everywhere(range(12))]
    pages = [
        page(place, plan.path, "demo-echo-pace-25", say(), attach(), path=plan.path)
        for plan in plans
    ]
    for plan, (cut, attached) in zip(plans, await run(node, *pages), strict=True):
        assert plan.made == 1
        assert cut["ended"].startswith("rejected: ")
        assert attached["ended"] == "resolved"
        assert texts(attached) == [("user", SAID), ("assistant", SAID)]
        assert await place.committed(attached["messages"][-1]["id"]) == SAID


async def test_an_attached_run_cut_anywhere_is_whole_or_rejected_and_then_whole(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    making = {"kind": "generate", "name": "Ada"}
    brief = json.dumps(DICTATED)
    steps = (say(brief), attach())
    [[made, again]] = await run(node, page(place, "ada", "demo-fast-dictated", *steps, **making))
    events = len(again["events"])
    assert {one["type"] for one in again["events"]} >= {"MESSAGES_SNAPSHOT", "CUSTOM"}
    plans = [place.plan(cut) for cut in everywhere(range(events), first=0)]
    pages = [
        page(place, "ada", "demo", say(brief), attach(), path=plan.path, **making) for plan in plans
    ]
    shown = await run(node, *pages)
    for plan, (cut, attached) in zip(plans, shown, strict=True):
        assert plan.made == 1
        assert cut["ended"].startswith("rejected: ")
        assert attached["ended"] == "resolved"
        assert texts(attached) == texts(made)
    assert await place.generations() == 1


async def test_a_page_that_was_closed_or_reloaded_attaches_while_it_runs_and_after(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    pages = [
        page(
            place, f"thread {keep}", "demo-echo-pace-40",
            say("first"), say(SAID, "r2", leaveAfter=5), {"act": "reload", "keep": keep},
            attach("r2"), attach("r2"),
        )
        for keep in ("user", "all", "none")
    ]  # fmt: skip
    whole = [("user", "first"), ("assistant", "first"), ("user", SAID), ("assistant", SAID)]
    for _, left, _, attached, again in await run(node, *pages):
        assert 5 <= len(left["messages"][-1]["content"]) < len(SAID)
        assert texts(attached) == texts(again) == whole
        deltas = [
            [one["delta"] for one in shown["events"] if one["type"] == "TEXT_MESSAGE_CONTENT"]
            for shown in (attached, again)
        ]
        assert deltas[0] == deltas[1]
        assert len(deltas[0]) > 1


async def test_a_page_that_has_only_its_last_message_gets_the_servers_history(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    await run(node, page(place, "h", "demo-fast-echo", say("one"), say("two", "r2")))
    [[shown]] = await run(node, page(place, "h", "demo-fast-echo", say("two", "r2")))
    assert texts(shown) == [
        ("user", "one"), ("assistant", "one"), ("user", "two"), ("assistant", "two")
    ]  # fmt: skip


async def test_a_cancelled_run_says_so_and_a_failed_one_is_an_error(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    running = asyncio.create_task(run(node, page(place, "c", "demo-echo-pace-20", say())))
    found: list[str] = []

    async def has_begun() -> bool:
        listed = (await place.http.get("/v1/generations?state=running")).json()["data"]
        found[:] = [one["id"] for one in listed]
        return bool(found)

    await eventually(has_begun, within=20)
    await place.http.post(f"/v1/generations/{found[0]}/cancel")
    [[cancelled]] = await running
    assert cancelled["ended"] == "resolved"
    assert last(cancelled)["outcome"] == {"type": "cancelled"}
    model = "demo-fast-echo-truncated-after-5"
    [[failed, refused]] = await run(node, page(place, "f", model, say(), say("x" * 100_001, "r2")))
    assert (last(failed)["type"], last(failed)["code"]) == ("RUN_ERROR", "model_truncated")
    assert failed["messages"][-1]["content"] == SAID[:5]
    assert refused["ended"].startswith("rejected: HTTP 422")


async def test_a_worker_that_stops_once_something_was_told_ends_the_run_as_an_error(
    place: Place, node: Path
) -> None:
    first = await place.work.hire(grace=0)
    plan = place.plan(Cut(99))
    pages = page(place, "w", "demo-echo-pace-20", say(), path=plan.path)
    running = asyncio.create_task(run(node, pages))
    await eventually(lambda: plan.passed > 8, within=20)
    await first.dismiss()
    [[shown]] = await running
    assert (last(shown)["type"], last(shown)["code"]) == ("RUN_ERROR", "worker_lost")
    answered = shown["messages"][-1]
    assert answered["content"] == await place.committed(answered["id"])
