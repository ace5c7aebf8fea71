"""What a person sends is accepted, or it is still theirs, with the reason."""

import asyncio

from playwright.async_api import Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit


async def test_until_it_is_accepted_a_message_is_marked_as_not_sent(visit: Visit) -> None:
    accepting = asyncio.Event()

    async def late(route: Route) -> None:
        await accepting.wait()
        await route.continue_()

    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Before")
    await visit.quiet()
    await visit.page.route("**/v1/generations", late)
    await visit.say("And after")
    await expect(visit.test_id("turn-user").last).to_contain_text("not sent yet")
    await assert_accessible(visit)
    accepting.set()
    await expect(visit.answer).to_have_text("And after")
    await expect(visit.test_id("turns")).not_to_contain_text("not sent yet")


async def test_a_message_whose_answer_was_lost_is_sent_again_under_its_key(visit: Visit) -> None:
    keys: list[str] = []

    async def lost(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            await route.continue_()
            return
        await route.fetch()
        await visit.page.evaluate(
            "Object.defineProperty(navigator, 'onLine', { value: false, configurable: true })"
        )
        await route.abort()

    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Before")
    await visit.quiet()
    await visit.page.route("**/v1/generations", lost)
    await visit.say("Only once")
    await expect(visit.test_id("composer-error")).to_have_text("Not sent. You are offline.")
    await visit.page.evaluate("delete navigator.onLine")
    await visit.test_id("send").click()
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await expect(visit.answer).to_have_text("Only once")
    await visit.quiet()
    assert len(keys) > 1
    assert len(set(keys)) == 1
    said = [turn["text"] for turn in (await visit.conversation())["turns"]]
    assert said == ["Before", "Before", "Only once", "Only once"]
