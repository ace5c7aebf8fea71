"""A killed worker as a person sees it, with the command and the settings that all begin with."""

import os
import re
import signal

import psutil
from playwright.async_api import expect

from tests.browser.test_states import assert_committed
from tests.browser.visit import Visit
from tests.services.waiting import until


def worker_of(url: str) -> psutil.Process:
    """The worker of the `persona-relay dev` at this address."""
    port = url.rpartition(":")[2]
    every = psutil.process_iter(["cmdline"])
    [dev] = [one for one in every if _is_dev(one.info["cmdline"] or [], port)]
    found: list[psutil.Process] = []

    def has_one() -> bool:
        found[:] = [one for one in dev.children() if "-m jobs" in " ".join(one.cmdline())]
        return len(found) == 1

    until(has_one, within=10)
    return found[0]


def _is_dev(argv: list[str], port: str) -> bool:
    return "dev" in argv and argv[-4:-1] == ["--port", port, "--data-dir"]


async def test_a_worker_killed_under_dev_is_silence_then_lost_then_the_committed_text(
    visit: Visit,
) -> None:
    await visit.open("#/chat", "demo-tokens-200-50")
    await visit.watch()
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t20 ")
    async with visit.nothing_read_again():
        os.kill(worker_of(visit.url).pid, signal.SIGKILL)
        # Long before its lease is over nobody is told that it still writes.
        await expect(visit.test_id("activity")).to_contain_text(
            re.compile(r"Nothing came for \d s")
        )
        await expect(visit.test_id("line-state")).to_have_text("Silent")
        await expect(visit.page.locator(".line-piece.is-silent")).to_have_count(1)
        await expect(visit.test_id("announcer")).to_have_text("Writing begins.")
        await visit.keep_screenshot("silent")
        await expect(visit.test_id("activity")).to_contain_text("worker was lost", timeout=30_000)
        await expect(visit.test_id("announcer")).to_contain_text("The worker was lost.")
        await expect(visit.test_id("line-facts")).to_contain_text("attempt 2", timeout=30_000)
        await visit.quiet()
        await visit.assert_streamed(await assert_committed(visit, 200))
    await assert_committed(visit, 200)
    assert (await visit.generation())["attempt"] == 2
    # All of the time since the last word was without a worker, and none of it is called writing.
    await expect(visit.page.locator(".line-piece.is-silent")).to_have_count(0)
    lost = await visit.page.locator(".line-piece.is-lost").get_attribute("title")
    assert lost is not None
    assert 7 < float(lost.split()[0]) < 40
    assert lost.endswith("without a worker")
