"""The reference page renders the OpenAPI document in a browser, under its own strict policy."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from relay.app import OPERATIONS, PROTOCOLS
from relay.routes.streams import GENERATION_STREAM
from tests.relay.edge import EdgeRelay


@pytest.fixture
async def page(chromium_path: Path) -> AsyncIterator[Page]:
    """A page of a fresh browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox"]
        )
        yield await browser.new_page()
        await browser.close()


async def test_the_reference_shows_every_call_event_and_type(relay: EdgeRelay, page: Page) -> None:
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    async with relay.live() as url:
        await page.goto(f"{url}/docs")
        await page.wait_for_selector("#types")
        assert await page.locator("article h3 .method").count() == len((*OPERATIONS, *PROTOCOLS))
        text = await page.inner_text("body")
        for event in GENERATION_STREAM.events:
            assert event in text
        assert "generation_active" in text
        link = page.locator("a[href='#type-Generation']").first
        await link.click()
        assert await page.locator("#type-Generation").is_visible()
        assert all(one.startswith(url) for one in asked)
    assert complaints == []
