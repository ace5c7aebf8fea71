"""One tab reads a stream without a cursor for all that are seen, and each notices its silence."""

from typing import Any

from playwright.async_api import BrowserContext, Page

from tests.browser.stage import Connection, Stage, blank_page, frame
from tests.browser.test_reader_tabs import HIDE
from tests.services.waiting import eventually

READ = """async (silenceMs) => {
  const { readAmongTabs } = await import(new URL("/web/among_tabs.js", location.href).href);
  const seen = window.seen = { events: [], states: [] };
  await readAmongTabs("v1/generations/gen_1/events", {
    silenceMs,
    onEvent: (type, data) => seen.events.push(data.number),
    onState: (state) => seen.states.push(state),
  }).ready;
}"""
LONG_MS = 60_000


def event(number: int) -> bytes:
    """One of a stream without a cursor."""
    return frame("news", None, {"number": number})


async def two_tabs(stage: Stage, profile: BrowserContext, silence_ms: int) -> tuple[Page, Page]:
    """One that reads, and one that is told by it."""
    first, second = [await blank_page(profile, stage) for _ in range(2)]
    for page in (first, second):
        await page.evaluate(READ, silence_ms)
    return first, second


async def came(page: Page, *numbers: int) -> None:
    """Wait until these events came, and no other."""
    told = "numbers => window.seen.events.join() === numbers.join()"
    await page.wait_for_function(told, arg=numbers)


async def is_now(page: Page, state: str) -> None:
    """Wait until the stream is said to be in this state."""
    await page.wait_for_function("state => window.seen.states.at(-1) === state", arg=state)


async def states(page: Page) -> Any:
    """All that was said of the stream."""
    return await page.evaluate("window.seen.states")


async def test_a_tab_that_is_hidden_leaves_the_reading_to_one_that_is_seen(
    stage: Stage, profile: BrowserContext
) -> None:
    former, later = Connection(ends="fed"), Connection([event(2)], ends="fed")
    stage.plays(former, later)
    first, second = await two_tabs(stage, profile, LONG_MS)
    former.feed(event(1))
    for page in (first, second):
        await came(page, 1)
    await first.evaluate(HIDE, True)
    await is_now(first, "paused")
    await came(second, 1, 2)
    await eventually(lambda: stage.open_now == 1, within=15)
    later.feed(event(3))
    await came(second, 1, 2, 3)
    await came(first, 1)
    # Seen again it is told by the other.
    await first.evaluate(HIDE, False)
    await is_now(first, "connecting")
    later.feed(event(4))
    await came(second, 1, 2, 3, 4)
    await came(first, 1, 4)
    assert len(stage.asked) == 2


async def test_a_tab_that_opens_behind_others_reads_once_it_is_seen(
    stage: Stage, page: Page
) -> None:
    stage.plays(Connection([event(1)], ends="silently"))
    await page.evaluate(HIDE, True)
    await page.evaluate(READ, LONG_MS)
    assert await states(page) == ["paused"]
    assert stage.asked == []
    await page.evaluate(HIDE, False)
    await came(page, 1)
    assert await states(page) == ["paused", "connecting", "live"]


async def test_a_tab_that_is_told_nothing_by_the_reading_one_says_that_nobody_reads(
    stage: Stage, profile: BrowserContext
) -> None:
    reading = Connection(ends="fed")
    # The first notices silence too, a little later.
    stage.plays(reading, Connection(ends="silently"), Connection(ends="silently"))
    first, second = await two_tabs(stage, profile, 3_000)
    reading.feed(event(1))
    await came(second, 1)
    await is_now(second, "live")
    # As one that is frozen, the first keeps its lock and tells nothing.
    await first.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
    reading.feed(event(2))
    await came(first, 1, 2)
    await is_now(second, "away")
    await came(second, 1)
