"""What begins elsewhere is shown in every open page, over one connection for a browser's tabs."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.stage import frame
from tests.browser.visit import Visit
from tests.services.waiting import until

MODEL = "demo-echo-fast"


@pytest.fixture
async def elsewhere(chromium: Browser, relay_url: str) -> AsyncIterator[Visit]:
    """The same person in another browser."""
    context = await chromium.new_context()
    visit = Visit(await context.new_page(), relay_url)
    yield visit
    await context.close()
    assert visit.troubles == []


def feeds(url: str) -> int:
    """How many feeds the relay holds open."""
    figures = httpx.get(f"{url}/metrics", timeout=5).text
    [line] = [one for one in figures.splitlines() if 'open_streams{kind="feed"}' in one]
    return int(float(line.split()[-1]))


async def test_words_stream_into_a_page_of_another_browser(visit: Visit, elsewhere: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("First")
    await visit.quiet()
    await elsewhere.page.goto(visit.page.url)
    await expect(elsewhere.answer).to_have_text("First")
    await elsewhere.watch()
    await visit.name_model("demo-words-60-pace-30")
    await visit.say("More")
    await expect(elsewhere.test_id("turn-user").last).to_contain_text("More")
    await elsewhere.quiet()
    await expect(elsewhere.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    assert await elsewhere.shown_answer() == await visit.shown_answer()
    # Word by word, not at its end.
    assert len(await elsewhere.watched("answers")) > 5
    # What waits there waits here too.
    await visit.name_model("demo-silent-after-3")
    await visit.say("Now")
    await visit.accepted()
    await visit.say("Then")
    await expect(elsewhere.test_id("turn-waiting")).to_contain_text("Then")
    await elsewhere.test_id("turn-waiting").get_by_test_id("withdraw").click()
    await expect(visit.test_id("turn-waiting")).to_have_count(0)
    await visit.test_id("stop").click()
    await visit.quiet()


async def test_the_list_learns_of_chats_and_personas_made_elsewhere(
    visit: Visit, elsewhere: Visit
) -> None:
    await visit.open("#/chat")
    chats, personas = visit.test_id("chats"), visit.test_id("personas")
    body = {"kind": "chat", "input": "Made elsewhere", "model": "demo-echo-fast"}
    chat = await elsewhere.post("/v1/generations", body)
    row = chats.locator(f'a[href="#/chat/{chat["conversation_id"]}"]')
    await expect(row).to_contain_text("Made elsewhere")
    await expect(row).not_to_contain_text("writing")
    persona = {"name": "Grace", "brief": "A terse admiral.", "model": "demo-fast"}
    made = await elsewhere.post("/v1/personas", persona)
    of_persona = personas.locator(f'a[href="#/personas/{made["persona_id"]}"]')
    await expect(of_persona).to_have_text("Gracev1")


async def test_tabs_share_one_feed_and_leave_none_behind(visit: Visit) -> None:
    # The tabs of the test before may be counted still.
    until(lambda: feeds(visit.url) == 0, within=10)
    await visit.open("#/chat")
    context = visit.page.context
    others = [Visit(await context.new_page(), visit.url) for _ in range(2)]
    for other in others:
        await other.open("#/chat")
    until(lambda: feeds(visit.url) == 1, within=10)
    # The tab that reads for all goes: another one reads on.
    reading = visit.page
    await reading.close()
    made = {"kind": "chat", "input": "After it went", "model": "demo-echo-fast"}
    chat = await others[0].post("/v1/generations", made)
    for other in others:
        row = other.test_id("chats").locator(f'a[href="#/chat/{chat["conversation_id"]}"]')
        await expect(row).to_contain_text("After it went")
    until(lambda: feeds(visit.url) == 1, within=10)
    for other in others:
        await other.page.close()
        assert other.troubles == []
    until(lambda: feeds(visit.url) == 0, within=10)


async def test_a_persona_that_is_deleted_elsewhere_is_gone_from_every_page(
    visit: Visit, elsewhere: Visit
) -> None:
    await visit.open()
    await visit.create("Ephemera", "A terse admiral.")
    await visit.quiet()
    ident = (await visit.persona())["id"]
    await elsewhere.page.goto(visit.page.url)
    await elsewhere.quiet()
    await elsewhere.test_id("composer").fill("A word more")
    await elsewhere.test_id("composer").focus()
    await visit.test_id("delete").click()
    await visit.test_id("confirm-delete").click()
    await expect(elsewhere.test_id("trouble")).to_contain_text("It is not there")
    await expect(elsewhere.test_id("composer")).to_be_hidden()
    await expect(elsewhere.test_id("turn-assistant")).to_have_count(0)
    await expect(elsewhere.page.locator("#main")).to_be_focused()
    await expect(visit.test_id("new-persona-form")).to_be_visible()
    await expect(visit.test_id("trouble")).to_be_hidden()
    for page in (visit, elsewhere):
        row = page.test_id("personas").locator(f'a[href="#/personas/{ident}"]')
        await expect(row).to_have_count(0)
    await elsewhere.keep_screenshot("deleted-elsewhere")
    await assert_accessible(elsewhere)


async def test_a_question_about_what_is_gone_is_withdrawn(visit: Visit, elsewhere: Visit) -> None:
    await visit.open()
    await visit.create("Ephemera", "A terse admiral.")
    await visit.quiet()
    await elsewhere.page.goto(visit.page.url)
    await elsewhere.quiet()
    for page in (elsewhere, visit):
        await page.test_id("delete").click()
    await visit.test_id("confirm-delete").click()
    await expect(elsewhere.test_id("delete-dialog")).to_be_hidden()
    await expect(elsewhere.test_id("trouble")).to_contain_text("It is not there")


async def test_chats_that_retention_deleted_leave_the_list_and_the_open_page(visit: Visit) -> None:
    kept, gone = [
        await visit.post("/v1/generations", {"kind": "chat", "input": said, "model": MODEL})
        for said in ("To stay", "To go")
    ]
    deleted = asyncio.Event()
    feed_was_read = 0

    async def feed(route: Route) -> None:
        nonlocal feed_was_read
        feed_was_read += 1
        if feed_was_read > 1:
            await route.continue_()
            return
        await deleted.wait()
        one = {"id": gone["id"], "conversation_id": gone["conversation_id"]}
        body = frame("deleted", None, {"personas": [], "generations": [one]})
        await route.fulfill(body=body, content_type="text/event-stream")

    async def without(route: Route) -> None:
        told = await (await route.fetch()).json()
        if deleted.is_set():
            for name, of in (("data", "id"), ("turns", "generation_id")):
                if name in told:
                    told[name] = [one for one in told[name] if one[of] != gone["id"]]
        await route.fulfill(json=told)

    await visit.page.route("**/v1/feed", feed)
    await visit.page.route(f"**/v1/conversations/{gone['conversation_id']}", without)
    await visit.page.route("**/v1/generations?*", without)
    await visit.open(f"#/chat/{gone['conversation_id']}")
    rows = [
        visit.test_id("chats").locator(f'a[href="#/chat/{one["conversation_id"]}"]')
        for one in (kept, gone)
    ]
    await visit.quiet()
    for row in rows:
        await expect(row).to_have_count(1)
    deleted.set()
    await expect(rows[1]).to_have_count(0)
    await expect(rows[0]).to_have_count(1)
    await expect(visit.test_id("turn-user")).to_have_count(0)
    await expect(visit.test_id("composer")).to_be_visible()
    await visit.keep_screenshot("deleted-by-retention")
