"""An address that names no place of the page says so."""

import pytest
from playwright.async_api import expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit


@pytest.mark.parametrize("address", ["#/chat/%", "#/personas/%E0%A4%A", "#/elsewhere/con_1"])
async def test_an_address_that_leads_nowhere_says_so(visit: Visit, address: str) -> None:
    await visit.page.goto(f"{visit.url}/{address}")
    await expect(visit.page.get_by_role("heading", name="There is nothing here.")).to_be_visible()
    await expect(visit.test_id("composer")).to_be_hidden()
    await assert_accessible(visit)
    await visit.test_id("nowhere").get_by_text("Begin a chat").click()
    await expect(visit.test_id("composer")).to_be_focused()
