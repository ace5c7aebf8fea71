"""Where the browser forbids storage, or has no room in it, the page works from memory."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.stage import END, RETRY, Connection, Stage, token
from tests.browser.visit import Visit

FORBIDDEN = """
for (const name of ["sessionStorage", "localStorage"])
  Object.defineProperty(window, name, {
    get() { throw new DOMException("denied", "SecurityError"); },
  });
"""
FULL = """
Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
const full = { set() { throw new DOMException("full", "QuotaExceededError"); } };
const storage = new Proxy({ getItem: () => null, removeItem() {}, setItem: full.set }, full);
for (const name of ["sessionStorage", "localStorage"])
  Object.defineProperty(window, name, { value: storage });
"""


@pytest.mark.parametrize("storage", [FORBIDDEN, FULL], ids=["forbidden", "full"])
async def test_the_page_works_without_storage(visit: Visit, storage: str) -> None:
    await visit.page.add_init_script(storage)
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Nothing is kept")
    await visit.quiet()
    assert await visit.shown_answer() == "Nothing is kept"
    # The model that was named was kept for as long as the page is.
    assert (await visit.generation())["model"] == "demo-echo-fast"


@pytest.mark.parametrize("storage", [FORBIDDEN, FULL], ids=["forbidden", "full"])
async def test_a_page_in_mid_stream_goes_without_an_error_and_reads_anew(
    visit: Visit, storage: str
) -> None:
    await visit.page.add_init_script(storage)
    await visit.open("#/chat", "demo-tokens-60-30")
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t5 ")
    await visit.page.reload()
    await visit.quiet()
    assert (await visit.shown_answer()).split() == [f"t{number}" for number in range(1, 61)]


async def test_the_operators_page_works_without_storage(visit: Visit) -> None:
    await visit.page.add_init_script(FORBIDDEN)
    await visit.page.goto(f"{visit.url}/ops")
    await expect(visit.test_id("link")).to_have_text("Live")


@pytest.mark.parametrize("storage", [FORBIDDEN, FULL], ids=["forbidden", "full"])
async def test_a_reader_whose_storage_fails_raises_no_error_when_the_page_goes(
    page: Page, stage: Stage, storage: str
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.add_init_script(storage)
    await page.reload()
    stage.plays(Connection([RETRY, token(1, "a")], ends="silently"))
    await stage.begin(page, keep=True)
    await page.wait_for_function("window.reader.cursor === '1.1.0'")
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    await page.reload()
    given = await stage.follow(page, Connection([RETRY, token(1, "a"), END]), keep=True)
    assert [event[2].get("text") for event in given["events"]] == ["a", None]
    assert errors == []
