"""Asks axe-core, which is what a tool can know of accessibility."""

from axe_playwright_python.async_playwright import Axe

from tests.browser.visit import Visit

axe = Axe()


async def assert_accessible(visit: Visit) -> None:
    """Fail with axe-core's report when the page as it is now violates any of its rules."""
    results = await axe.run(visit.page)
    assert results.violations_count == 0, results.generate_report()
