"""Each state of the page, reached for real where it can be, and none that axe-core objects to."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit
from tests.chaos.system import System, open_system
from tests.services import RedisServer

BRIEF = "A patient statistics tutor for nurses: plain language, questions before answers."


@pytest.fixture(scope="module")
async def system(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """A relay and a worker as processes of their own, to be killed."""
    folder = tmp_path_factory.mktemp("system")
    url = f"sqlite+aiosqlite:///{folder}/relay.db"
    async with open_system(redis_server, url, folder) as system:
        yield system


@pytest.fixture
async def there(chromium: Browser, system: System) -> AsyncIterator[Visit]:
    """A visitor of that relay."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    visit = Visit(await context.new_page(), system.relays[0].url)
    yield visit
    await context.close()
    assert visit.troubles == []


async def assert_committed(visit: Visit, count: int) -> None:
    """What the page shows is the committed turn, and that holds every token once."""
    stored = await visit.committed_answer()
    assert stored["text"].split() == [f"t{number}" for number in range(1, count + 1)]
    assert stored["partial"] is False
    assert await visit.shown_answer() == stored["text"].rstrip()


async def test_a_worker_killed_in_mid_stream_is_told_of_and_loses_no_word(
    there: Visit, system: System
) -> None:
    await there.open("#/chat", "demo-tokens-60-30")
    await there.say("Count")
    await expect(there.answer).to_contain_text("t20 ")
    [worker] = system.workers
    worker.kill()
    await expect(there.test_id("activity")).to_contain_text("worker was lost")
    await expect(there.test_id("line-state")).to_have_text("Worker lost")
    await expect(there.test_id("announcer")).to_contain_text("The worker was lost")
    await there.keep_screenshot("worker-lost")
    await assert_accessible(there)
    worker.launch()
    await worker.ready()
    await expect(there.test_id("line-facts")).to_contain_text("attempt 2")
    await there.quiet()
    await assert_committed(there, 60)
    await expect(there.test_id("line-facts")).to_contain_text("1 reset")
    assert (await there.generation())["attempt"] == 2


async def test_a_message_that_no_worker_takes_says_so_and_is_answered_later(
    there: Visit, system: System
) -> None:
    [worker] = system.workers
    worker.kill()
    await there.open("#/chat", "demo-echo-fast")
    await there.say("Anybody?")
    await expect(there.test_id("activity")).to_contain_text("no worker is running")
    await expect(there.test_id("line-state")).to_have_text("Queued")
    await there.keep_screenshot("queued")
    worker.launch()
    await worker.ready()
    await there.quiet()
    assert await there.shown_answer() == "Anybody?"


async def test_a_silent_model_is_thinking_and_its_worker_alive(there: Visit) -> None:
    await there.open("#/chat", "demo-silent")
    await there.say("Think")
    await expect(there.test_id("activity")).to_have_text("Thinking…")
    await expect(there.test_id("line-state")).to_have_text("Thinking")
    await there.keep_screenshot("thinking")
    await assert_accessible(there)
    await there.page.keyboard.press("Escape")
    await expect(there.test_id("turn-outcome")).to_contain_text("Stopped")


async def test_offline_and_online_again_in_mid_stream_loses_no_word(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-200-50")
    await visit.watch()
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t20 ")
    await visit.page.context.set_offline(True)
    await expect(visit.test_id("offline")).to_be_visible()
    await expect(visit.test_id("activity")).to_contain_text("Offline")
    await visit.keep_screenshot("offline")
    await assert_accessible(visit)
    await visit.page.context.set_offline(False)
    await expect(visit.test_id("offline")).to_be_hidden()
    await visit.quiet()
    await assert_committed(visit, 200)
    states = await visit.watched("answers")
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(states))
    await expect(visit.test_id("line-facts")).to_contain_text("1 reconnect")


async def test_a_page_that_loads_says_so(visit: Visit) -> None:
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Hello")
    await visit.quiet()
    await visit.page.route("**/v1/conversations/**", hold)
    await visit.page.reload()
    await expect(visit.page.get_by_text("Loading…")).to_be_visible()
    await visit.keep_screenshot("loading")
    await assert_accessible(visit)
    held.set()
    await expect(visit.answer).to_have_text("Hello")


async def test_over_the_budget_the_message_stays_and_the_wait_is_counted(visit: Visit) -> None:
    refused = 0

    async def refuse(route: Route) -> None:
        nonlocal refused
        if route.request.method != "POST" or refused:
            await route.continue_()
            return
        refused += 1
        problem = {
            "title": "Too many",
            "detail": "60 generations a minute.",
            "code": "limit_exceeded",
        }
        await route.fulfill(
            status=429,
            body=json.dumps(problem),
            headers={"retry-after": "3", "content-type": "application/problem+json"},
        )

    await visit.page.route("**/v1/generations", refuse)
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Patience")
    await expect(visit.test_id("composer-error")).to_contain_text("Over the limit")
    await expect(visit.test_id("composer-error")).to_contain_text("Again in")
    await expect(visit.test_id("composer")).to_have_value("Patience")
    await expect(visit.test_id("send")).to_be_disabled()
    await visit.keep_screenshot("over-budget")
    await assert_accessible(visit)
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await visit.test_id("send").click()
    await visit.quiet()
    assert await visit.shown_answer() == "Patience"
    assert refused == 1


async def test_a_failed_answer_and_a_stopped_one_are_told_apart(visit: Visit) -> None:
    await visit.open("#/chat", "demo-truncated-after-6-fast")
    await visit.say("Break off")
    await expect(visit.test_id("retry")).to_be_visible()
    await expect(visit.test_id("line-state")).to_have_text("Failed")
    await visit.keep_screenshot("failed")
    await assert_accessible(visit)
    await visit.name_model("demo-tokens-500-40")
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t10 ")
    await visit.test_id("stop").click()
    await expect(visit.test_id("partial").last).to_be_visible()
    await expect(visit.test_id("line-state")).to_have_text("Stopped")
    await visit.keep_screenshot("cancelled")
    await assert_accessible(visit)
    stored = await visit.committed_answer()
    assert stored["partial"] is True
    assert await visit.shown_answer() == stored["text"].rstrip()


async def test_two_open_tabs_are_in_step(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("First")
    await visit.quiet()
    other = Visit(await visit.page.context.new_page(), visit.url)
    await other.page.goto(visit.page.url)
    await expect(other.answer).to_have_text("First")
    await visit.name_model("demo-tokens-100-50")
    # The other tab was told nothing but by this one.
    await visit.say("Count")
    await expect(other.answer).to_contain_text("t10 ")
    await asyncio.gather(visit.quiet(), other.quiet())
    await assert_committed(visit, 100)
    assert await other.shown_answer() == await visit.shown_answer()
    assert other.troubles == []


async def test_fifty_generations_are_listed_and_each_can_be_opened(visit: Visit) -> None:
    bodies = [{"kind": "chat", "input": f"Talk {n}", "model": "demo-echo-fast"} for n in range(50)]
    made = await asyncio.gather(*(visit.post("/v1/generations", body) for body in bodies))
    await visit.open()
    items = visit.test_id("chats").locator("a")
    hrefs = await items.evaluate_all("all => all.map(one => one.hash)")
    assert {f"#/chat/{one['conversation_id']}" for one in made} <= set(hrefs)
    await visit.keep_screenshot("fifty")
    await assert_accessible(visit)
    # Each is listed as ended without anybody opening it.
    first = visit.test_id("chats").get_by_role("link", name="Talk 0", exact=True)
    # By keyboard: the list may move below a pointer while it is read again.
    await first.press("Enter")
    await expect(visit.answer).to_have_text("Talk 0")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_pane_violates_what_axe_knows(visit: Visit, scheme: str, width: int) -> None:
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await visit.open()
    await visit.keep_screenshot(f"empty-{scheme}-{width}")
    await assert_accessible(visit)
    await visit.create("Ada", BRIEF)
    await visit.quiet()
    await visit.say("Please change the voice: add a little humour.")
    await expect(visit.test_id("version")).to_have_text("version 2")
    await visit.quiet()
    await visit.page.locator('[data-testid="file"][data-path="voice.md"]').click()
    await visit.test_id("changes").click()
    await visit.test_id("timeline").locator("summary").click()
    await visit.page.set_viewport_size({"width": width, "height": 760})
    panes = ["list", "inspector", "conversation"] if width < 1080 else ["conversation"]
    for pane in panes:
        if len(panes) > 1:
            await visit.page.locator(f'.panes [data-pane="{pane}"]').click()
        await visit.keep_screenshot(f"{pane}-{scheme}-{width}")
        await assert_accessible(visit)
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == width
