"""The page offers to copy an answer where the browser lets it, and only there."""

from playwright.async_api import expect

from tests.browser.visit import Visit

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"


async def answered(visit: Visit) -> None:
    """Have a short answer on the page."""
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Take me along")
    await visit.quiet()


async def test_an_answer_is_copied_whole(visit: Visit) -> None:
    await visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await answered(visit)
    await visit.test_id("copy").click()
    await expect(visit.test_id("copy")).to_have_text("Copied")
    assert await visit.page.evaluate("navigator.clipboard.readText()") == "Take me along"


async def test_without_a_clipboard_nothing_offers_to_copy(visit: Visit) -> None:
    await visit.page.add_init_script(NO_CLIPBOARD)
    await answered(visit)
    await expect(visit.test_id("copy")).to_be_hidden()


async def test_what_a_tab_sends_is_under_its_own_name(visit: Visit) -> None:
    await visit.open("#/chat")
    await expect(visit.test_id("settings").locator("summary")).to_have_text("Model and token")
