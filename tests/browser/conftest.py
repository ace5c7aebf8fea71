"""A real Chromium, and the whole system started by its own one command."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.stage import Stage, blank_page, open_stage
from tests.browser.visit import Visit
from tests.services.child import Child
from tests.services.ports import free_port
from tests.services.waiting import until

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
EXPECT_MS = 15_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
async def chromium(chromium_path: Path) -> AsyncIterator[Browser]:
    """The installed browser, headless, one for all tests; each test has a context of its own."""
    expect.set_options(timeout=EXPECT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
def relay_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `persona-relay dev`, with the scripted demo model behind it."""
    folder = tmp_path_factory.mktemp("dev")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    env = {key: value for key, value in kept.items() if not key.startswith("RELAY_")}
    program = Path(sys.executable).with_name("persona-relay")
    argv = [str(program), "dev", "--port", str(port), "--data-dir", str(folder / "data")]
    limits = {"RELAY_MODELS": "*", "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0"}
    kinds = {"RELAY_KINDS": "tests.browser.own_kind:REPORT", "PYTHONPATH": str(ROOT)}
    output = folder / "dev.log"
    with Child(argv, output=output, env=env | limits | kinds, cwd=folder) as child:

        def ready() -> bool:
            if child.exit_code is not None:
                raise RuntimeError(f"persona-relay dev ended: {child.text()}")
            try:
                return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        until(ready, within=50, every=0.1)
        yield url
        child.terminate(within=15)


@pytest.fixture
async def visit(chromium: Browser, relay_url: str) -> AsyncIterator[Visit]:
    """A visitor with a fresh browser profile; script errors and foreign requests fail the test."""
    context = await chromium.new_context(viewport={"width": 1360, "height": 860})
    visit = Visit(await context.new_page(), relay_url)
    yield visit
    await context.close()
    assert visit.troubles == []


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A server that plays scripted connections."""
    async with open_stage() as stage:
        yield stage


@pytest.fixture
async def profile(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh browser profile, for several tabs of one person."""
    context = await chromium.new_context()
    yield context
    await context.close()


@pytest.fixture
async def page(profile: BrowserContext, stage: Stage) -> Page:
    """A blank page beside the module."""
    return await blank_page(profile, stage)
