"""`examples/use-chat`, bundled as its README says, in Chromium: answers outlive reloads."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles

from tests.clients.place import Place, open_place
from tests.clients.told import SAID
from tests.services import live_server
from tests.services.child import bound

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples/use-chat"
WORDS = SAID.replace("\n", "") * 2


def bundle(node: Path, directory: Path) -> None:
    """What `npm start` serves."""
    esbuild = HERE / "node_modules/esbuild/bin/esbuild"
    words = json.loads((EXAMPLE / "package.json").read_text())["scripts"]["start"].split()
    flags = [word for word in words[1:] if not word.startswith("--serve")]
    argv = bound(str(node), str(esbuild), *flags, f"--outdir={directory}")
    environment = {"NODE_PATH": str(HERE / "node_modules")}
    subprocess.run(argv, cwd=EXAMPLE, env=environment, check=True, capture_output=True, timeout=60)
    (directory / "index.html").write_text((EXAMPLE / "index.html").read_text())


@pytest.fixture
async def page(
    redis_url: str, sqlite_url: str, tmp_path: Path, node: Path, chromium: Browser
) -> AsyncIterator[tuple[Page, Place]]:
    """The page, on an origin of its own, with a relay that lets it in."""
    directory = tmp_path / "page"
    directory.mkdir()
    bundle(node, directory)
    site = Starlette()
    site.mount("/", StaticFiles(directory=directory, html=True))
    async with (
        live_server(site) as origin,
        open_place(redis_url, sqlite_url, tmp_path, origins=(origin,)) as place,
    ):
        await place.work.hire()
        context = await chromium.new_context()
        opened = await context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        query = urlencode({"relay": place.url, "chat": "c1", "model": "demo-echo-pace-20"})
        await opened.goto(f"{origin}/?{query}")
        yield opened, place
        await context.close()
        assert errors == []


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_a_reload_in_mid_answer_shows_it_whole(page: tuple[Page, Place]) -> None:
    tab, place = page
    await say(tab, WORDS)
    await expect(tab.locator(".assistant")).to_contain_text(WORDS[:8])
    await tab.reload()
    await expect(tab.get_by_role("status")).to_have_text("streaming")
    await expect(tab.locator(".assistant")).to_contain_text(WORDS[:8])
    assert await tab.locator(".assistant").inner_text() != WORDS
    await expect(tab.get_by_role("status")).to_have_text("ready", timeout=20_000)
    assert await tab.locator(".assistant").all_inner_texts() == [WORDS]
    assert await tab.locator(".user").all_inner_texts() == [WORDS]
    await tab.reload()
    await expect(tab.get_by_role("status")).to_have_text("ready")
    assert await tab.locator(".assistant").all_inner_texts() == [WORDS]
    assert await place.generations() == 1


async def test_a_stop_ends_the_answer_and_again_asks_anew(page: tuple[Page, Place]) -> None:
    tab, place = page
    await say(tab, WORDS)
    await expect(tab.locator(".assistant")).to_contain_text(WORDS[:4])
    await tab.get_by_role("button", name="Stop").click()
    await expect(tab.get_by_role("status")).to_have_text("ready")
    [partial] = await tab.locator(".assistant").all_inner_texts()
    assert partial != WORDS
    assert WORDS.startswith(partial.rstrip())
    await tab.get_by_role("button", name="Again").click()
    await expect(tab.locator(".assistant")).to_have_text(WORDS, timeout=20_000)
    assert await place.generations() == 2
