"""The operator's page shows how the system stands, as it happens, to everybody who may see it."""

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Route, expect

from tests.browser.visit import Visit
from tests.services.waiting import until

FEED = "**/v1/ops/feed"
NOW = 1_790_000_000_000
SLICES = {
    "accepted": [index % 7 for index in range(60)],
    "completed": [index % 5 for index in range(60)],
    "failed": [int(index % 20 == 3) for index in range(60)],
    "cancelled": [int(index % 15 == 0) for index in range(60)],
    "expired": [0] * 60,
    "output_tokens": [index * 30 for index in range(60)],
}
RATES = {
    **SLICES,
    "slice_seconds": 10.0,
    "ends_at_ms": NOW,
    "errors": [{"code": "model_error", "count": 3}],
}
WELL: dict[str, Any] = {
    "at": "2026-09-21T14:13:20.000Z",
    "database": True,
    "redis": True,
    "generations": {
        "queued": 2, "waiting": 1, "running": 41, "lost": 0, "oldest_queued_seconds": 1.2,
    },
    "workers": [
        {
            "id": f"wrk_{number:026}", "alive": True, "silent_seconds": 0.4, "running": 20,
            "capacity": 200, "started_at": NOW - 7_300_000,
        }
        for number in (1, 2)
    ],
    "breakers": [],
    "queue_depth": 2,
    "streams": {"events": 63, "feed": 12, "ops": 1},
    "rates": RATES,
}  # fmt: skip
UNWELL: dict[str, Any] = {
    **WELL,
    "redis": False,
    "queue_depth": None,
    "generations": {
        "queued": 5, "waiting": 1, "running": 3, "lost": 2, "oldest_queued_seconds": 75.0,
    },
    "workers": [
        *WELL["workers"][:1],
        {**WELL["workers"][1], "alive": False, "silent_seconds": 31.0},
    ],
    "breakers": [
        {
            "endpoint": "https://model.example/v1", "model": "big-model", "state": "open",
            "failures": 6, "opened_at": NOW - 9000, "retry_at": NOW + 4000, "probe": None,
            "waiting": 4,
        }
    ],
}  # fmt: skip


async def tell(visit: Visit, figures: Callable[[], dict[str, Any]]) -> None:
    """Let the feed tell this each time that it is asked for."""

    async def fulfil(route: Route) -> None:
        body = f"retry: 500\n\nevent: figures\ndata: {json.dumps(figures())}\n\n"
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    await visit.page.route(FEED, fulfil)


async def look(visit: Visit) -> None:
    """Open the page, and wait for its first reading."""
    await visit.page.goto(f"{visit.url}/ops")
    await expect(visit.test_id("figures")).to_be_visible()


async def test_what_runs_now_is_shown_while_it_runs(visit: Visit) -> None:
    await look(visit)
    await expect(visit.test_id("link")).to_have_text("Live")
    # Another test may have killed one before.
    alive = visit.test_id("workers").locator("tbody tr").filter(has_text="alive")
    await expect(alive).to_have_count(1)
    before = int(await visit.test_id("running").inner_text())
    async with httpx.AsyncClient(base_url=visit.url) as client:
        body = {"kind": "chat", "input": "Wait", "model": "demo-silent-after-3"}
        asked = await client.post("/v1/generations", json=body)
        await expect(visit.test_id("running")).to_have_text(str(before + 1))
        await client.post(f"/v1/generations/{asked.json()['id']}/cancel")
        await expect(visit.test_id("running")).to_have_text(str(before))
    await expect(visit.page.locator(".plot")).to_have_count(4)


async def test_all_is_well_is_said_and_plots_are_read_out(visit: Visit) -> None:
    await tell(visit, lambda: WELL)
    await look(visit)
    await expect(visit.test_id("verdict")).to_have_text("All is well.")
    await expect(visit.test_id("places")).to_have_text("40")
    last = {name: sum(slices[-6:]) for name, slices in SLICES.items()}
    await expect(visit.page.get_by_role("img", name="Ended:")).to_have_accessible_name(
        f"Ended: {last['completed']} completed, {last['failed']} failed, "
        f"{last['cancelled']} cancelled, 0 expired in the last minute."
    )
    await visit.page.get_by_text("As a table").click()
    newest = visit.test_id("minutes").locator("tbody tr").first
    tokens = f"{last.pop('output_tokens') / 1000:.1f}K"
    assert (await newest.inner_text()).split() == ["1", *map(str, last.values()), tokens]
    await expect(visit.test_id("minutes").locator("tbody tr")).to_have_count(10)


async def test_troubles_are_named_the_worst_first(visit: Visit) -> None:
    await tell(visit, lambda: UNWELL)
    await look(visit)
    said = await visit.test_id("verdict").locator("span").all_inner_texts()
    assert said == [
        "Redis can't be reached: streams stand still.",
        "The model big-model does not answer.",
        "1 worker has gone silent.",
        "2 generations have lost their worker.",
        "5 generations wait for up to 1 min 15 s.",
    ]
    assert (await visit.page.title()).startswith("(5) ")
    await expect(visit.test_id("breakers").locator("tbody tr")).to_contain_text(["big-model"])
    await expect(visit.test_id("breakers")).to_contain_text("in 4 s")
    await expect(visit.test_id("workers")).to_contain_text("silent 31 s")
    await expect(visit.test_id("errors")).to_contain_text("model_error")


async def test_a_worker_that_went_long_ago_is_history_and_empty_plots_say_so(
    visit: Visit,
) -> None:
    alive, gone = WELL["workers"]
    gone = {**gone, "alive": False, "silent_seconds": 4000.0}
    nothing = {**RATES, **{name: [0] * 60 for name in SLICES}}
    rest = {"queued": 0, "waiting": 0, "running": 0, "lost": 0, "oldest_queued_seconds": 0.0}
    figures = {**WELL, "workers": [alive, gone], "rates": nothing, "generations": rest}
    await tell(visit, lambda: figures)
    await look(visit)
    await expect(visit.test_id("verdict")).to_have_text("All is well.")
    await expect(visit.test_id("workers").locator("tbody tr")).to_have_count(1)
    await expect(visit.page.get_by_text("Nothing in this time")).to_have_count(4)
    await tell(visit, lambda: WELL)
    await visit.page.reload()
    await expect(visit.page.locator(".plot-empty:visible")).to_have_count(0)


async def test_a_database_that_is_away_leaves_the_last_figures_and_says_so(visit: Visit) -> None:
    gone = {**WELL, "database": False, "generations": None, "workers": None, "breakers": None}
    told = iter([WELL])
    await tell(visit, lambda: next(told, gone))
    await look(visit)
    await expect(visit.test_id("verdict")).to_have_text("The database can't be reached.")
    await expect(visit.test_id("running")).to_have_text("41")
    await expect(visit.test_id("workers")).not_to_contain_text("alive")


async def test_a_screen_reader_hears_of_changes_and_not_of_readings(visit: Visit) -> None:
    told = iter([WELL, WELL, WELL])
    await tell(visit, lambda: next(told, UNWELL))
    await visit.page.add_init_script(
        """addEventListener("DOMContentLoaded", () => {
          window.heard = [];
          const verdict = document.querySelector("[role=status]");
          new MutationObserver(() => window.heard.push(verdict.textContent))
            .observe(verdict, { childList: true, characterData: true, subtree: true });
        })"""
    )
    await look(visit)
    await expect(visit.test_id("verdict")).to_contain_text("Redis")
    heard = await visit.page.evaluate("window.heard")
    assert heard[0] == "All is well."
    assert len(heard) == 2


async def test_a_lost_link_is_said_and_comes_back_by_itself(visit: Visit) -> None:
    await look(visit)
    await expect(visit.test_id("link")).to_have_text("Live")
    await visit.page.context.set_offline(True)
    await visit.page.route(FEED, lambda route: route.abort())
    await visit.page.evaluate("dispatchEvent(new Event('online'))")
    await expect(visit.test_id("link")).to_contain_text("Not reached")
    await expect(visit.test_id("figures")).to_have_class("figures is-old")
    await visit.page.unroute(FEED)
    await visit.page.context.set_offline(False)
    await expect(visit.test_id("link")).to_have_text("Live")


async def test_what_is_not_read_any_more_is_unknown_and_not_well(visit: Visit) -> None:
    await tell(visit, lambda: WELL)
    await visit.page.clock.install()
    await look(visit)
    verdict, workers = visit.test_id("verdict"), visit.test_id("workers")
    await expect(verdict).to_have_text("All is well.")
    await expect(workers.locator("tbody .badge")).to_have_text(["alive", "alive"])
    await visit.page.route(FEED, lambda route: route.abort())
    await visit.page.clock.run_for(7000)
    await expect(verdict).to_have_text(re.compile(r"^Unknown since .*\d:\d\d:\d\d"))
    await expect(verdict).to_have_class("verdict is-unknown")
    await expect(workers.locator("tbody .badge")).to_have_text(["unknown", "unknown"])
    assert (await visit.page.title()).startswith("(?) ")
    results = await Axe().run(visit.page)
    assert results.violations_count == 0, results.generate_report()
    await visit.keep_screenshot("ops-unknown")
    # It is said at once where the page is no longer admitted.
    await tell(visit, lambda: WELL)
    await visit.page.clock.run_for(20_000)
    await expect(verdict).to_have_text("All is well.")
    problem = {"detail": "the token is revoked", "code": "unauthorized"}
    await visit.page.route(FEED, lambda route: route.fulfill(status=401, json=problem))
    await visit.page.clock.run_for(2000)
    await expect(verdict).to_have_class("verdict is-unknown")


async def test_tokens_are_named_for_what_is_counted_and_no_breaker_for_more(visit: Visit) -> None:
    await tell(visit, lambda: WELL)
    await look(visit)
    tokens = f"{sum(SLICES['output_tokens'][-6:]) / 1000:.1f}K"
    plotted = visit.page.get_by_role("img", name="Committed:")
    await expect(plotted).to_have_accessible_name(f"Committed: {tokens} tokens in the last minute.")
    await expect(visit.page.get_by_text("Tokens committed a minute")).to_be_visible()
    await expect(visit.test_id("breakers").locator(".hint")).to_have_text("All are closed.")


async def test_a_server_that_wants_a_token_is_given_one(visit: Visit) -> None:
    async def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer prt_right":
            await route.continue_()
            return
        problem = {"detail": "this needs the scope admin", "code": "missing_scope"}
        await route.fulfill(status=403, json=problem, content_type="application/problem+json")

    await visit.page.route(FEED, guard)
    await visit.page.goto(f"{visit.url}/ops")
    await expect(visit.test_id("refusal")).to_have_text("this needs the scope admin")
    await expect(visit.test_id("figures")).to_be_hidden()
    field = visit.page.get_by_label("API token")
    await expect(field).to_be_focused()
    await field.fill("prt_right")
    await field.press("Enter")
    await expect(visit.test_id("figures")).to_be_visible()
    await expect(visit.test_id("admit")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
async def test_it_is_accessible_and_no_wider_than_the_screen(
    visit: Visit, scheme: Literal["light", "dark"], width: int
) -> None:
    await tell(visit, lambda: UNWELL)
    await visit.page.set_viewport_size({"width": width, "height": 800})
    await visit.page.emulate_media(color_scheme=scheme)
    await look(visit)
    await visit.page.get_by_text("As a table").click()
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == width
    results = await Axe().run(visit.page)
    assert results.violations_count == 0, results.generate_report()


def open_feeds(url: str) -> int:
    """How many of the operator's feeds the relay holds open."""
    figures = httpx.get(f"{url}/metrics", timeout=5).text
    [line] = [one for one in figures.splitlines() if 'open_streams{kind="ops"}' in one]
    return int(float(line.split()[-1]))


async def test_windows_share_one_feed_and_another_reads_on_when_one_goes(visit: Visit) -> None:
    # The windows of the test before may be counted still.
    until(lambda: open_feeds(visit.url) == 0, within=10)
    await look(visit)
    context = visit.page.context
    others = [Visit(await context.new_page(), visit.url) for _ in range(7)]
    for other in others:
        await look(other)
        await expect(other.test_id("link")).to_have_text("Live")
        await expect(other.test_id("figures")).to_be_visible()
    until(lambda: open_feeds(visit.url) == 1, within=10)
    await visit.page.close()
    for other in others:
        read_at = await other.page.evaluate("performance.now()")
        await other.page.evaluate(
            "new Promise((told) => new MutationObserver(told).observe("
            "document.querySelector('[data-testid=figures]'), "
            "{subtree: true, childList: true, characterData: true, attributes: true}))"
        )
        assert await other.page.evaluate("performance.now()") > read_at
        await expect(other.test_id("link")).to_have_text("Live")
    until(lambda: open_feeds(visit.url) == 1, within=10)
    for other in others:
        await other.page.close()
        assert other.troubles == []
    until(lambda: open_feeds(visit.url) == 0, within=10)


async def test_a_window_with_a_token_that_is_refused_keeps_no_other_from_asking(
    visit: Visit,
) -> None:
    problem = {"detail": "this needs the scope admin", "code": "missing_scope"}
    context = visit.page.context
    await context.route(FEED, lambda route: route.fulfill(status=403, json=problem))
    other = Visit(await context.new_page(), visit.url)
    for window in (visit, other):
        await window.page.goto(f"{visit.url}/ops")
        await expect(window.test_id("refusal")).to_have_text("this needs the scope admin")
        await expect(window.test_id("link")).to_have_text("Not admitted")
    await other.page.close()
