"""Low windows, long words, text from right to left: nothing is lost, covered or turned about."""

import pytest
from playwright.async_api import expect

from tests.browser.accessible import assert_accessible
from tests.browser.test_copying import LISTEN
from tests.browser.visit import Visit

ON_TOP = """one => {
  one.scrollIntoView({block: "center"});
  const { x, y, width, height } = one.getBoundingClientRect();
  const there = document.elementFromPoint(x + width / 2, y + height / 2);
  return one === there || one.contains(there);
}"""
"""Whether it can be pressed in its middle, once it is scrolled to."""
HIGH = "one => one.getBoundingClientRect().height"
HEBREW = "שלום, זה טקסט."


@pytest.mark.parametrize(("width", "height"), [(320, 256), (640, 360)])
@pytest.mark.parametrize("lines", [1, 12])
async def test_on_a_low_window_the_conversation_can_be_read_and_the_box_used(
    visit: Visit, width: int, height: int, lines: int
) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Words that are to be read.")
    await visit.quiet()
    await visit.page.set_viewport_size({"width": width, "height": height})
    await visit.test_id("composer").fill("\n".join(["a line"] * lines))
    scroller = visit.page.locator(".scroller")
    assert await scroller.evaluate(HIGH) >= 120
    assert await visit.test_id("composer").evaluate(HIGH) <= height * 0.4
    for one in (visit.test_id("copy").last, visit.test_id("send"), visit.answer):
        assert await one.evaluate(ON_TOP)
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == width
    await assert_accessible(visit)
    await visit.keep_screenshot(f"low-{width}-{height}-{lines}")
    await visit.test_id("send").click()
    await visit.quiet()
    await expect(visit.test_id("turn-assistant")).to_have_count(2)


async def test_a_long_word_of_a_heading_breaks_and_moves_no_pane_sideways(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.page.set_viewport_size({"width": 360, "height": 700})
    await visit.say("\n".join(f"{'#' * level} {'averylongword' * 20}" for level in range(1, 7)))
    await visit.quiet()
    await expect(visit.answer.locator("h3, h4, h5, h6")).to_have_count(6)
    scroller = visit.page.locator(".scroller")
    wide, shown = await scroller.evaluate("one => [one.scrollWidth, one.clientWidth]")
    assert wide == shown


@pytest.mark.parametrize("width", [1360, 360])
@pytest.mark.parametrize("name", ["Ada", "Donaudampf" * 8 + "x"])
async def test_the_question_before_a_deletion_is_whole_and_within_the_window(
    visit: Visit, name: str, width: int
) -> None:
    await visit.open()
    await visit.create(name, "A patient tutor.")
    await visit.page.set_viewport_size({"width": width, "height": 700})
    await visit.test_id("delete").click()
    dialog = visit.test_id("delete-dialog")
    left, right = await dialog.evaluate(
        "one => [one.getBoundingClientRect().left, one.getBoundingClientRect().right]"
    )
    assert left >= 12
    assert right <= width - 12
    wide, shown = await dialog.evaluate("one => [one.scrollWidth, one.clientWidth]")
    assert wide == shown
    await visit.keep_screenshot(f"delete-{len(name)}-{width}")
    await assert_accessible(visit)


async def test_text_runs_the_way_of_its_own_words(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    box = visit.test_id("composer")
    await box.fill(HEBREW)
    direction = "one => getComputedStyle(one).direction"
    assert await box.evaluate(direction) == "rtl"
    said = f"# {HEBREW}\n\n{HEBREW}\n\n- {HEBREW}\n- two\n\n> {HEBREW}\n\nEnglish, {HEBREW}"
    await visit.say(said)
    await visit.quiet()
    for what in ("h3", "p >> nth=0", "ul", "blockquote"):
        assert await visit.answer.locator(what).evaluate(direction) == "rtl", what
    assert await visit.answer.locator("p").last.evaluate(direction) == "ltr"
    # The mark stands before the first word, which is at the right.
    item, words = [
        await visit.answer.locator(one).first.evaluate("one => one.getBoundingClientRect().right")
        for one in ("ul", "li")
    ]
    assert item > words
    await visit.keep_screenshot("from-right-to-left")


async def test_what_the_browser_refuses_to_copy_is_said(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Hello")
    await visit.quiet()
    await visit.page.evaluate(
        "() => { navigator.clipboard.writeText = async () => { throw new DOMException('no'); }; }"
    )
    await visit.test_id("copy").evaluate(LISTEN)
    await visit.test_id("copy").click()
    assert await visit.page.evaluate("window.told") == "Not copied: the browser refused"
    await expect(visit.test_id("copy")).to_have_text("Copy")


async def test_an_answers_bullets_are_those_of_a_text_of_its_own(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("- one\n  - two\n    - three")
    await visit.quiet()
    lists = visit.answer.locator("ul")
    await expect(lists).to_have_count(3)
    kinds = "all => all.map((one) => getComputedStyle(one).listStyleType)"
    assert await lists.evaluate_all(kinds) == ["disc", "circle", "square"]
