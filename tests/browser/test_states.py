"""Each state of the page, reached for real where it can be, and none that axe-core objects to."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from playwright.async_api import Browser, Route, expect
from sqlalchemy import text

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit
from tests.chaos.system import Refused, System, open_system
from tests.services import RedisServer

BUDGET = 12
BRIEF = "A patient statistics tutor for nurses: plain language, questions before answers."


@pytest.fixture(scope="module")
async def system(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """A relay and a worker as processes of their own, to be killed."""
    folder = tmp_path_factory.mktemp("system")
    url = f"sqlite+aiosqlite:///{folder}/relay.db"
    budget = {"owner_generations_per_minute": BUDGET}
    async with open_system(redis_server, url, folder, **budget) as system:
        yield system


@pytest.fixture
async def there(chromium: Browser, system: System) -> AsyncIterator[Visit]:
    """A visitor of that relay."""
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    visit = Visit(await context.new_page(), system.relays[0].url)
    yield visit
    await context.close()
    assert visit.troubles == []


async def assert_committed(visit: Visit, count: int) -> str:
    """What the page shows is the committed turn, and that holds every token once; its text."""
    stored = await visit.committed_answer()
    text: str = stored["text"]
    assert text.split() == [f"t{number}" for number in range(1, count + 1)]
    assert stored["partial"] is False
    assert await visit.shown_answer() == text.rstrip()
    return text


async def test_a_worker_killed_in_mid_stream_is_told_of_and_loses_no_word(
    there: Visit, system: System
) -> None:
    await there.open("#/chat", "demo-tokens-150-30")
    await there.watch()
    await there.say("Count")
    await expect(there.answer).to_contain_text("t20 ")
    async with there.nothing_read_again():
        [worker] = system.workers
        worker.kill()
        await expect(there.test_id("activity")).to_contain_text("worker was lost")
        await expect(there.test_id("line-state")).to_have_text("Worker lost")
        await expect(there.test_id("announcer")).to_contain_text("The worker was lost")
        await there.keep_screenshot("worker-lost")
        await assert_accessible(there)
        worker.launch()
        await worker.ready()
        await expect(there.test_id("line-facts")).to_contain_text("attempt 2")
        await there.quiet()
        await there.assert_streamed(await assert_committed(there, 150))
    await assert_committed(there, 150)
    await expect(there.test_id("line-facts")).to_contain_text("1 reset")
    await expect(there.page.locator(".line-piece.is-lost")).to_have_count(1)
    assert (await there.generation())["attempt"] == 2


async def test_a_message_that_no_worker_takes_says_so_and_is_answered_later(
    there: Visit, system: System
) -> None:
    [worker] = system.workers
    worker.kill()
    await there.open("#/chat", "demo-echo-fast")
    await there.say("Anybody?")
    await expect(there.test_id("activity")).to_contain_text("no worker is running")
    await expect(there.test_id("line-state")).to_have_text("Queued")
    await expect(there.test_id("announcer")).to_have_text("Waiting: no worker is running yet.")
    await there.keep_screenshot("queued")
    await assert_accessible(there)
    worker.launch()
    await worker.ready()
    await there.quiet()
    assert await there.shown_answer() == "Anybody?"


async def test_a_silent_model_is_thinking_and_its_worker_alive(there: Visit) -> None:
    await there.open("#/chat", "demo-silent")
    await there.say("Think")
    await expect(there.test_id("activity")).to_have_text("Thinking…")
    await expect(there.test_id("line-state")).to_have_text("Thinking")
    await there.keep_screenshot("thinking")
    await assert_accessible(there)
    await there.page.keyboard.press("Escape")
    await expect(there.test_id("turn-outcome")).to_contain_text("Stopped. Nothing was written.")


async def test_a_message_written_offline_stays_where_it_was_written(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("First")
    await visit.quiet()
    await visit.page.context.set_offline(True)
    await expect(visit.test_id("offline")).to_be_visible()
    await visit.say("Second")
    await expect(visit.test_id("composer-error")).to_contain_text("You are offline")
    await expect(visit.test_id("composer")).to_have_value("Second")
    await expect(visit.test_id("turn-user")).to_have_count(1)
    await visit.page.context.set_offline(False)
    await visit.test_id("composer").press("Enter")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    assert await visit.shown_answer() == "Second"


async def test_what_failed_is_tried_again_as_the_kind_that_it_was(visit: Visit) -> None:
    await visit.open("#/chat", "demo-truncated-after-3")
    await visit.say("A report, please")
    await expect(visit.test_id("turn-outcome")).to_be_visible()

    async def of_a_kind_of_its_own(route: Route) -> None:
        told = await (await route.fetch()).json()
        await route.fulfill(json={**told, "kind": "report"})

    await visit.page.route("**/v1/generations/gen_*", of_a_kind_of_its_own)
    await visit.page.reload()
    async with visit.page.expect_request(
        lambda one: one.method == "POST" and one.url.endswith("/v1/generations")
    ) as asking:
        await visit.test_id("retry").click()
    asked = (await asking.value).post_data_json or {}
    conversation = (await visit.conversation())["id"]
    assert (asked["kind"], asked["input"]) == ("report", "A report, please")
    assert asked["conversation_id"] == conversation
    # This relay knows no such kind, and the page says what it answered.
    await expect(visit.test_id("composer-error")).to_contain_text("report")
    await visit.drawn()
    await expect(visit.test_id("composer-error")).to_be_visible()


async def test_a_silence_after_the_first_words_is_told_before_any_heartbeat(visit: Visit) -> None:
    await visit.open("#/chat", "demo-silent-after-5")
    await visit.say("Think")
    await expect(visit.test_id("activity")).to_have_text("Writing…")
    await expect(visit.test_id("activity")).to_have_text(
        re.compile(r"Writing… Nothing came for [4-9] s")
    )
    announced = await visit.test_id("announcer").text_content()
    await expect(visit.test_id("activity")).to_have_text(
        re.compile(r"The model has been silent for \d+ s; its worker is alive…")
    )
    # Seconds that pass are nothing to interrupt a listener for.
    assert await visit.test_id("announcer").text_content() == announced == "Writing begins."
    await visit.page.keyboard.press("Escape")
    await expect(visit.test_id("turn-outcome")).to_contain_text("What was written so far is kept.")


async def test_offline_and_online_again_in_mid_stream_loses_no_word(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-200-50")
    await visit.watch()
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t20 ")
    await visit.page.context.set_offline(True)
    await expect(visit.test_id("offline")).to_be_visible()
    await expect(visit.test_id("activity")).to_contain_text("Offline")
    await visit.keep_screenshot("offline")
    await assert_accessible(visit)
    await visit.page.context.set_offline(False)
    await expect(visit.test_id("offline")).to_be_hidden()
    await visit.quiet()
    await assert_committed(visit, 200)
    states = await visit.watched("answers")
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(states))
    await expect(visit.test_id("line-facts")).to_contain_text("1 reconnect")


async def test_an_empty_page_says_how_to_begin(there: Visit) -> None:
    # Nobody has made a persona there.
    await there.page.goto(f"{there.url}/#/")
    await expect(there.page.get_by_role("heading", name="A persona, from a brief.")).to_be_visible()
    await expect(there.page.get_by_text("None yet. Make the first from a brief.")).to_be_visible()
    await expect(there.test_id("name")).to_be_focused()
    await there.keep_screenshot("empty")
    await assert_accessible(there)
    await there.page.goto(f"{there.url}/#/chat")
    await expect(there.page.get_by_text("It goes on when you close the page.")).to_be_visible()
    await expect(there.test_id("composer")).to_be_focused()
    await expect(there.test_id("send")).to_be_disabled()
    await there.keep_screenshot("empty-chat")
    await assert_accessible(there)


async def test_a_lost_connection_is_said_to_be_sought_again(visit: Visit) -> None:
    away = asyncio.Event()

    async def drop(route: Route) -> None:
        await (route.continue_() if away.is_set() else route.abort("connectionreset"))

    await visit.page.route("**/events", drop)
    await visit.open("#/chat", "demo-tokens-60-30")
    await visit.say("Count")
    await expect(visit.test_id("activity")).to_have_text("Connection lost. Reconnecting…")
    await expect(visit.test_id("line-state")).to_have_text("Away")
    await visit.keep_screenshot("reconnecting")
    await assert_accessible(visit)
    away.set()
    await visit.quiet()
    await assert_committed(visit, 60)


async def test_the_question_before_a_deletion_is_accessible_and_can_be_left(visit: Visit) -> None:
    await visit.open()
    await visit.create("Ada", BRIEF)
    await visit.quiet()
    await visit.test_id("delete").click()
    await expect(visit.test_id("delete-dialog")).to_be_visible()
    await visit.keep_screenshot("delete")
    await assert_accessible(visit)
    await visit.page.keyboard.press("Escape")
    await expect(visit.test_id("delete-dialog")).to_be_hidden()
    await expect(visit.test_id("delete")).to_be_focused()
    assert (await visit.persona())["version"] == 1


async def test_a_page_that_loads_says_so(visit: Visit) -> None:
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("Hello")
    await visit.quiet()
    await visit.page.route("**/v1/conversations/**", hold)
    await visit.page.reload()
    await expect(visit.page.get_by_text("Loading…")).to_be_visible()
    await visit.keep_screenshot("loading")
    await assert_accessible(visit)
    held.set()
    await expect(visit.answer).to_have_text("Hello")


async def test_over_the_budget_the_message_stays_and_the_wait_is_counted(
    there: Visit, system: System
) -> None:
    await there.open("#/chat", "demo-echo-fast")
    older = text("UPDATE generations SET created_at = created_at - :ms")
    await system.db.write_one(older, {"ms": 60_000})
    for _ in range(BUDGET):
        await system.ask("demo-echo-fast")
    await system.at_rest()
    with pytest.raises(Refused, match="429"):
        await system.ask("demo-echo-fast")
    # What filled the minute is some 52 seconds old now: there is little to wait for.
    await system.db.write_one(older, {"ms": 52_000})
    await there.say("Patience")
    await expect(there.test_id("composer-error")).to_contain_text(
        "Not sent. Too much was asked within a minute. Again in"
    )
    await expect(there.test_id("composer")).to_have_value("Patience")
    await expect(there.test_id("send")).to_be_disabled()
    await there.keep_screenshot("over-budget")
    await assert_accessible(there)
    await expect(there.test_id("composer-error")).to_be_hidden()
    await there.test_id("send").click()
    await there.quiet()
    assert await there.shown_answer() == "Patience"


async def test_a_failed_answer_and_a_stopped_one_are_told_apart(visit: Visit) -> None:
    await visit.open("#/chat", "demo-truncated-after-6-fast")
    await visit.say("Break off")
    await expect(visit.test_id("retry")).to_be_visible()
    await expect(visit.test_id("line-state")).to_have_text("Failed")
    await visit.keep_screenshot("failed")
    await assert_accessible(visit)
    await visit.name_model("demo-tokens-500-40")
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t10 ")
    await visit.test_id("stop").click()
    await expect(visit.test_id("partial").last).to_be_visible()
    await expect(visit.test_id("line-state")).to_have_text("Stopped")
    await visit.keep_screenshot("cancelled")
    await assert_accessible(visit)
    stored = await visit.committed_answer()
    assert stored["partial"] is True
    assert await visit.shown_answer() == stored["text"].rstrip()


async def test_fifty_generations_are_listed_and_each_can_be_opened(visit: Visit) -> None:
    bodies = [{"kind": "chat", "input": f"Talk {n}", "model": "demo-echo-fast"} for n in range(50)]
    made = await asyncio.gather(*(visit.post("/v1/generations", body) for body in bodies))
    await visit.open()
    for one in made:
        row = visit.test_id("chats").locator(f'a[href="#/chat/{one["conversation_id"]}"]')
        await expect(row).to_have_count(1)
    await visit.keep_screenshot("fifty")
    await assert_accessible(visit)
    # Each is listed as ended without anybody opening it.
    first = visit.page.get_by_text("Talk 0", exact=True)
    await visit.test_id("chats").locator("a").filter(has=first).click()
    await expect(visit.answer).to_have_text("Talk 0")


async def test_a_row_stays_below_the_pointer_that_presses_it(visit: Visit) -> None:
    for said in ("Under it", "Pressed"):
        made = {"kind": "chat", "input": said, "model": "demo-echo-fast"}
        await visit.post("/v1/generations", made)
    await visit.open()
    rows = visit.test_id("chats").locator("a")
    pressed = rows.filter(has_text="Pressed").first
    await pressed.hover()
    await visit.page.mouse.down()
    # Another tab begins a chat: this one hears of it and reads the list again.
    other = Visit(await visit.page.context.new_page(), visit.url)
    await other.open("#/chat", "demo-echo-fast")
    async with visit.page.expect_response(lambda one: "?persona_id=none" in one.url) as read:
        await other.say("In between")
    await (await read.value).finished()
    await other.quiet()
    await expect(pressed).to_be_visible()
    await visit.page.mouse.up()
    await expect(visit.answer).to_have_text("Pressed")
    assert other.troubles == []
    # Once nobody points at it, the list is as it should be.
    await visit.page.mouse.move(700, 400)
    await expect(rows.first).to_have_text(re.compile("In between"))


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_pane_violates_what_axe_knows(visit: Visit, scheme: str, width: int) -> None:
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await visit.open()
    await visit.keep_screenshot(f"empty-{scheme}-{width}")
    await assert_accessible(visit)
    await visit.create("Ada", BRIEF)
    await visit.quiet()
    await visit.say("Please change the voice: add a little humour.")
    await expect(visit.test_id("version")).to_have_text("version 2")
    await visit.quiet()
    await visit.page.locator('[data-testid="file"][data-path="voice.md"]').click()
    await visit.test_id("changes").click()
    await visit.test_id("timeline").locator("summary").click()
    await visit.page.set_viewport_size({"width": width, "height": 760})
    panes = ["list", "inspector", "conversation"] if width < 1080 else ["conversation"]
    for pane in panes:
        if len(panes) > 1:
            await visit.page.locator(f'.panes [data-pane="{pane}"]').click()
        await visit.keep_screenshot(f"{pane}-{scheme}-{width}")
        await assert_accessible(visit)
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == width
