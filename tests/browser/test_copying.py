"""The page offers to copy an answer where the browser lets it, and only there."""

from playwright.async_api import Locator, expect

from tests.browser.visit import Visit

LISTEN = """copy => {
  window.told = new Promise((told) => {
    const watcher = new MutationObserver(() => told(copy.textContent));
    watcher.observe(copy, { subtree: true, childList: true, characterData: true });
  });
}"""
"""What it says when it is pressed stands there for a moment only: `window.told` keeps it."""
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"


async def answered(visit: Visit) -> None:
    """Have a short answer on the page."""
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Take me along")
    await visit.quiet()


async def test_an_answer_is_copied_whole(visit: Visit) -> None:
    await visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await answered(visit)
    await visit.test_id("copy").evaluate(LISTEN)
    await visit.test_id("copy").click()
    assert await visit.page.evaluate("window.told") == "Copied"
    assert await visit.page.evaluate("navigator.clipboard.readText()") == "Take me along"


async def drawn_from(place: Locator) -> tuple[float, float]:
    """From where to where it is drawn, left to right."""
    box = await place.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"]


async def test_what_copies_an_answer_stands_below_its_first_letter(visit: Visit) -> None:
    await answered(visit)
    words, _ = await drawn_from(visit.answer)
    icon, _ = await drawn_from(visit.test_id("copy").locator("path"))
    assert abs(icon - words) < 1.5
    await visit.keep_screenshot("copy")


async def test_beside_the_badge_of_a_partial_answer_it_covers_nothing(visit: Visit) -> None:
    await visit.open("#/chat", "demo-truncated-after-3-fast")
    await visit.say("A report, please")
    await visit.quiet()
    _, badge = await drawn_from(visit.test_id("partial"))
    copy, _ = await drawn_from(visit.test_id("copy"))
    assert badge < copy < badge + 10
    await visit.keep_screenshot("copy-partial")


async def test_without_a_clipboard_nothing_offers_to_copy(visit: Visit) -> None:
    await visit.page.add_init_script(NO_CLIPBOARD)
    await answered(visit)
    await expect(visit.test_id("copy")).to_be_hidden()


async def test_what_a_tab_sends_is_under_its_own_name(visit: Visit) -> None:
    await visit.open("#/chat")
    await expect(visit.test_id("settings").locator("summary")).to_have_text("Model and token")
