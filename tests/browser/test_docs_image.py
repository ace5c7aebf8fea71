"""Makes the picture that opens the README: `docs/page.png` is a copy of the artefact `page.png`."""

import asyncio

from playwright.async_api import expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit

OTHERS = {
    "Inès": "A museum guide for children of eight to twelve. Curious, playful, honest.",
    "Marlow": "A code reviewer for a small team: kind, exact, allergic to cleverness.",
}
BRIEF = (
    "A patient statistics tutor for nurses. Explains with bedside examples, asks before she tells."
)


async def test_a_persona_that_is_written_while_the_network_comes_and_goes(visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 1280, "height": 800})
    bodies = [
        {"name": name, "brief": brief, "model": "demo-fast"} for name, brief in OTHERS.items()
    ]
    await asyncio.gather(*(visit.post("/v1/personas", body) for body in bodies))
    await visit.open(model="demo-pace-40")
    await visit.test_id("settings").locator("summary").click()
    await visit.create("Ada", BRIEF)
    await expect(visit.page.locator('[data-path="persona.md"]')).to_contain_text("writing…")
    await visit.page.context.set_offline(True)
    await expect(visit.test_id("activity")).to_contain_text("Offline")
    await visit.page.context.set_offline(False)
    await visit.test_id("timeline").locator("summary").click()
    await expect(visit.test_id("line-facts")).to_contain_text("1 reconnect")
    await expect(visit.page.locator('[data-path="boundaries.md"]')).to_contain_text("writing…")
    await expect(visit.test_id("file-page").locator("li").nth(1)).to_be_visible()
    await visit.keep_screenshot("page")
    await assert_accessible(visit)
    await visit.quiet()
    await expect(visit.test_id("version")).to_have_text("version 1")
