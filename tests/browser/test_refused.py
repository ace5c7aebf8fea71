"""What the API refuses is told where it was asked for, until something else is asked."""

from playwright.async_api import Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit

LIMIT = {"code": "limit_exceeded", "detail": "the owner's limit of 30 generations a minute …"}


async def fail_once(visit: Visit) -> None:
    """An answer that broke off stands there, to be tried again."""
    await visit.open("#/chat", "demo-truncated-after-3-fast")
    await visit.say("A report, please")
    await expect(visit.test_id("retry")).to_be_visible()
    await visit.quiet()
    await visit.name_model("demo-echo-fast")


async def test_over_the_limit_what_is_tried_again_says_how_long_to_wait(visit: Visit) -> None:
    async def over(route: Route) -> None:
        kind = "application/problem+json"
        headers = {"retry-after": "20"}
        await route.fulfill(status=429, headers=headers, json=LIMIT, content_type=kind)

    await visit.page.clock.install()
    await fail_once(visit)
    await visit.page.route("**/v1/generations", over, times=1)
    await visit.test_id("retry").click()
    await expect(visit.test_id("composer-error")).to_contain_text("Again in")
    await visit.drawn()
    await expect(visit.test_id("composer-error")).to_be_visible()
    await expect(visit.test_id("composer-error")).to_contain_text(
        "Not sent. Too much was asked within a minute. Again in"
    )
    await expect(visit.test_id("retry")).to_be_disabled()
    await assert_accessible(visit)
    # After the wait it may be tried again, and the refusal is no longer true.
    await visit.page.clock.fast_forward(21_000)
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await visit.test_id("retry").click()
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    assert await visit.shown_answer() == "A report, please"


async def test_offline_what_is_tried_again_is_said_not_to_be_sent(visit: Visit) -> None:
    await fail_once(visit)
    await visit.page.context.set_offline(True)
    await visit.test_id("retry").click()
    await expect(visit.test_id("composer-error")).to_have_text("Not sent. You are offline.")
    await visit.drawn()
    await expect(visit.test_id("composer-error")).to_be_visible()
    await assert_accessible(visit)
    await visit.page.context.set_offline(False)
    await visit.test_id("retry").click()
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await expect(visit.test_id("turn-assistant")).to_have_count(2)


async def test_a_message_that_can_not_be_withdrawn_says_so_and_still_waits(visit: Visit) -> None:
    async def fault(route: Route) -> None:
        await route.fulfill(status=500, json={"detail": "Something broke."})

    await visit.open("#/chat", "demo-silent-after-3")
    await visit.say("First")
    await expect(visit.answer).not_to_be_empty()
    await visit.say("Never mind")
    await visit.page.route("**/cancel", fault, times=1)
    await visit.test_id("turn-waiting").get_by_test_id("withdraw").click()
    await expect(visit.test_id("composer-error")).to_have_text("Not withdrawn. Something broke.")
    await visit.drawn()
    await expect(visit.test_id("composer-error")).to_be_visible()
    await expect(visit.test_id("turn-waiting")).to_have_count(1)
    await visit.test_id("turn-waiting").get_by_test_id("withdraw").click()
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await expect(visit.test_id("turn-waiting")).to_have_count(0)
    await visit.page.keyboard.press("Escape")
    await visit.quiet()


async def test_who_presses_try_again_twice_asks_once(visit: Visit) -> None:
    await fail_once(visit)
    retry = visit.test_id("retry")
    await retry.evaluate("retry => { retry.click(); retry.click(); }")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    # A double click's second press comes when the first was accepted.
    await retry.evaluate("retry => retry.dispatchEvent(new MouseEvent('click', { detail: 2 }))")
    await visit.drawn()
    await visit.quiet()
    turns = (await visit.conversation())["turns"]
    said = [turn["text"] for turn in turns if turn["role"] == "user"]
    assert said == ["A report, please"] * 2
    assert (await visit.conversation())["active_generation"] is None


async def test_stop_while_offline_is_said_not_to_be_done_and_can_be_pressed_again(
    visit: Visit,
) -> None:
    await visit.open("#/chat", "demo-silent-after-3")
    await visit.say("Think")
    await expect(visit.answer).not_to_be_empty()
    await visit.page.context.set_offline(True)
    await visit.test_id("stop").click()
    # What is tried again by itself is told of after more than seven seconds.
    told = expect(visit.test_id("composer-error"))
    await told.to_have_text("Not stopped. You are offline.", timeout=6_000)
    await visit.drawn()
    await expect(visit.test_id("composer-error")).to_be_visible()
    await expect(visit.test_id("stop")).to_be_enabled()
    await expect(visit.test_id("activity")).not_to_contain_text("Stopping")
    await expect(visit.test_id("announcer")).not_to_contain_text("Stop")
    await assert_accessible(visit)
    await visit.page.context.set_offline(False)
    await visit.test_id("stop").click()
    await expect(visit.test_id("turn-outcome")).to_contain_text("Stopped")
    await expect(visit.test_id("composer-error")).to_be_hidden()
    await expect(visit.test_id("announcer")).to_have_text("Stopped.")
