"""The list of chats: every one is there or can be asked for, under its first words."""

from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.test_pure_modules import modules, run
from tests.browser.visit import Visit

__all__ = ["modules"]

TITLES = "({ titleOf }, texts) => texts.map(titleOf)"


async def say(visit: Visit, text: str, conversation: str | None = None) -> str:
    """Say this in a chat behind the page's back; gives the chat's id."""
    body: dict[str, Any] = {"kind": "chat", "input": text, "model": "demo-echo-fast"}
    if conversation:
        body |= {"conversation_id": conversation, "on_active": "queue"}
    made = await visit.post("/v1/generations", body)
    return str(made["conversation_id"])


async def read_in_small_pages(visit: Visit) -> None:
    """Let each page of chats be two generations long, so that few are many."""

    async def smaller(route: Route) -> None:
        await route.continue_(url=route.request.url.replace("limit=100", "limit=2"))

    await visit.page.route("**/v1/generations?persona_id=none*", smaller)


async def test_a_long_chat_bears_its_first_words_and_hides_no_other(visit: Visit) -> None:
    short = await say(visit, "The short one")
    long = await say(visit, "How it began")
    for number in range(5):
        await say(visit, f"More {number}", long)
    await read_in_small_pages(visit)
    await visit.open("#/chat")
    chats = visit.test_id("chats")
    await expect(chats.locator(f'a[href="#/chat/{short}"]')).to_contain_text("The short one")
    await expect(chats.locator(f'a[href="#/chat/{long}"]')).to_contain_text("How it began")


async def test_older_chats_are_shown_when_they_are_asked_for(visit: Visit) -> None:
    old = await say(visit, "Long ago")
    long = await say(visit, "**How** it `began`\nand went on")
    for number in range(13):
        await say(visit, f"More {number}", long)
    await read_in_small_pages(visit)
    await visit.open("#/chat")
    chats = visit.test_id("chats")
    # It began before all that was read.
    await expect(chats.locator(f'a[href="#/chat/{long}"]')).to_contain_text("How it began")
    await expect(chats.locator(f'a[href="#/chat/{old}"]')).to_have_count(0)
    await assert_accessible(visit)
    await visit.test_id("more-chats").click()
    await expect(chats.locator(f'a[href="#/chat/{old}"]')).to_contain_text("Long ago")
    # What is read anew goes on from there.
    new = await say(visit, "Just now")
    await visit.page.goto(f"{visit.url}/#/")
    await expect(chats.locator(f'a[href="#/chat/{new}"]')).to_contain_text("Just now")
    await expect(chats.locator(f'a[href="#/chat/{old}"]')).to_have_count(1)


async def test_a_kind_of_an_applications_own_is_listed_under_its_name(visit: Visit) -> None:
    before = {"kind": "weekly_report", "input": "What **was** done", "model": "demo-echo-fast"}
    made = await visit.post("/v1/generations", before)
    persona = {"name": "Grace", "brief": "A terse admiral.", "model": "demo-fast"}
    other = (await visit.post("/v1/personas", persona))["conversation_id"]
    await visit.open("#/chat", "demo-echo-fast")
    chats = visit.test_id("chats")
    row = chats.locator(f'a[href="#/chat/{made["conversation_id"]}"]')
    await expect(row.locator(".place-title")).to_have_text("What was done")
    await expect(row.locator(".place-kind")).to_have_text("Weekly report")
    # What begins while the page is open is listed alike.
    live = await visit.post("/v1/generations", {**before, "input": "And since then"})
    new = chats.locator(f'a[href="#/chat/{live["conversation_id"]}"]')
    await expect(new.locator(".place-title")).to_have_text("And since then")
    await expect(new.locator(".place-kind")).to_have_text("Weekly report")
    await expect(chats.locator(f'a[href="#/chat/{other}"]')).to_have_count(0)
    await row.click()
    await visit.quiet()
    await expect(visit.answer).to_have_text("What was done")
    # It goes on as a chat does.
    await visit.say("Thank you")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    await expect(row.locator(".place-title")).to_have_text("What was done")
    await visit.keep_screenshot("own-kind")
    await assert_accessible(visit)


async def test_a_title_has_no_marks_of_markdown(modules: Page) -> None:
    given = {
        "# A *big* plan\nfor today": "A big plan",
        "\n\n> - **Why** `x_y`?": "Why x_y?",
        "```py\nprint(1)\n```": "print(1)",
        "***Both*** and ~~not~~ that": "Both and not that",
        "2 * 3 * 4 and snake_case_name": "2 * 3 * 4 and snake_case_name",
        "***": "***",
        "```": "```",
    }
    assert await run(modules, "chats.js", TITLES, list(given)) == list(given.values())
