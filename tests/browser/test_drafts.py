"""What is typed and not sent stays in the place where it was typed."""

import asyncio
import re
from uuid import uuid4

import pytest
from playwright.async_api import Route, expect

from tests.browser.test_storage import FORBIDDEN
from tests.browser.visit import Visit


async def two_chats(visit: Visit) -> list[str]:
    """The places of two chats."""
    bodies = [{"kind": "chat", "input": said, "model": "demo-echo-fast"} for said in "AB"]
    made = [await visit.post("/v1/generations", body) for body in bodies]
    return [f"#/chat/{one['conversation_id']}" for one in made]


async def go(visit: Visit, place: str, said: str) -> None:
    """Open a place by its link, and wait until its message is shown."""
    await visit.page.evaluate("place => { location.hash = place; }", place)
    await expect(visit.test_id("turn-user").get_by_test_id("words")).to_have_text([said])


@pytest.mark.parametrize("storage", ["", FORBIDDEN], ids=["kept", "forbidden"])
async def test_a_draft_stays_in_the_place_where_it_was_typed(visit: Visit, storage: str) -> None:
    first, second = await two_chats(visit)
    await visit.page.add_init_script(storage)
    await visit.open(second)
    await visit.test_id("composer").fill("For B\nalone")
    await go(visit, first, "A")
    await expect(visit.test_id("composer")).to_have_value("")
    await expect(visit.test_id("send")).to_be_disabled()
    await visit.test_id("composer").fill("For A")
    await go(visit, second, "B")
    await expect(visit.test_id("composer")).to_have_value("For B\nalone")
    await expect(visit.test_id("send")).to_be_enabled()
    if not storage:
        await visit.page.reload()
        await expect(visit.test_id("composer")).to_have_value("For B\nalone")
    # What is sent is no draft any more.
    await visit.test_id("send").click()
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.accepted()
    await visit.page.reload()
    await expect(visit.test_id("turn-user")).to_have_count(2)
    await expect(visit.test_id("composer")).to_have_value("")


async def test_what_is_refused_after_its_place_was_left_is_still_there(visit: Visit) -> None:
    refusing = asyncio.Event()

    async def refuse(route: Route) -> None:
        await refusing.wait()
        await route.fulfill(status=422, json={"detail": "It is not wanted."})

    first, second = await two_chats(visit)
    await visit.open(second)
    await visit.page.route("**/v1/generations", refuse)
    await visit.say("For B")
    await go(visit, first, "A")
    refusing.set()
    await expect(visit.test_id("composer-error")).to_have_text(
        "Not sent, it stays where it was written. It is not wanted."
    )
    await expect(visit.test_id("composer")).to_have_value("")
    await go(visit, second, "B")
    await expect(visit.test_id("composer")).to_have_value("For B")
    await expect(visit.test_id("composer-error")).to_be_hidden()


async def test_what_is_typed_while_a_chat_begins_goes_along(visit: Visit) -> None:
    accepting = asyncio.Event()

    async def late(route: Route) -> None:
        await accepting.wait()
        await route.continue_()

    await visit.open("#/chat", "demo-echo-fast")
    await visit.page.route("**/v1/generations", late)
    await visit.say("First")
    await visit.test_id("composer").fill("And then")
    accepting.set()
    await visit.quiet()
    await expect(visit.test_id("composer")).to_have_value("And then")
    await visit.page.evaluate("location.hash = '#/chat'")
    await expect(visit.test_id("composer")).to_have_value("")


@pytest.mark.parametrize("arrives", [True, False])
async def test_what_is_on_its_way_when_the_page_is_reloaded_stays_and_is_made_once(
    visit: Visit, arrives: bool
) -> None:
    asked, reloaded = asyncio.Event(), asyncio.Event()

    async def lose(route: Route) -> None:
        if reloaded.is_set():
            await route.continue_()
        elif arrives:
            await route.fetch()
        else:
            await route.abort("connectionaborted")
        asked.set()

    [place, _] = await two_chats(visit)
    await visit.open(place, "demo-echo-fast")
    await visit.page.route("**/v1/generations", lose)
    await visit.say("More\nof it")
    await asked.wait()
    await expect(visit.test_id("composer")).to_have_value("")
    await visit.page.reload()
    reloaded.set()
    await expect(visit.test_id("composer")).to_have_value("More\nof it")
    if arrives:
        await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.test_id("send").click()
    await expect(visit.test_id("composer")).to_have_value("")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.accepted()
    await visit.page.reload()
    await expect(visit.test_id("turn-user")).to_have_count(2)
    await expect(visit.test_id("composer")).to_have_value("")


@pytest.mark.parametrize("storage", ["", FORBIDDEN], ids=["kept", "forbidden"])
async def test_a_brief_stays_in_its_form_until_it_is_accepted(visit: Visit, storage: str) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=422, json={"detail": "It is not wanted."})

    await visit.page.add_init_script(storage)
    [chat, _] = await two_chats(visit)
    await visit.open()
    await visit.test_id("name").fill("Grace")
    await visit.test_id("brief").fill("A tutor.\nShe asks first.")
    await go(visit, chat, "A")
    await expect(visit.test_id("composer")).to_have_value("")
    await visit.test_id("new-persona").click()
    await expect(visit.test_id("name")).to_have_value("Grace")
    await expect(visit.test_id("brief")).to_have_value("A tutor.\nShe asks first.")
    await visit.keep_screenshot("brief-kept")
    # An example that was taken is kept as well.
    await visit.page.get_by_role("button", name="Marlow").click()
    if not storage:
        await visit.page.reload()
    else:
        await go(visit, chat, "A")
        await visit.test_id("new-persona").click()
    await expect(visit.test_id("name")).to_have_value("Marlow")
    await expect(visit.test_id("brief")).to_have_value(re.compile("A code reviewer"))
    # What is refused is still there, what is accepted is not.
    await visit.page.route("**/v1/personas", refuse, times=1)
    await visit.test_id("create").click()
    await expect(visit.test_id("form-error")).to_have_text("It is not wanted.")
    await go(visit, chat, "A")
    await visit.test_id("new-persona").click()
    await expect(visit.test_id("name")).to_have_value("Marlow")
    await visit.test_id("create").click()
    await expect(visit.test_id("title")).to_have_text("Marlow")
    await visit.test_id("new-persona").click()
    await expect(visit.test_id("name")).to_have_value("")
    await expect(visit.test_id("brief")).to_have_value("")


async def test_what_is_added_to_a_brief_on_its_way_stays(visit: Visit) -> None:
    asked, accepting = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await accepting.wait()
        await route.continue_()

    await visit.open()
    await visit.page.route("**/v1/personas", late)
    await visit.test_id("name").fill("Ada")
    await visit.test_id("brief").fill("A tutor.")
    await visit.test_id("create").click()
    await asked.wait()
    await visit.test_id("brief").fill("A tutor. For nurses.")
    accepting.set()
    await expect(visit.test_id("title")).to_have_text("Ada")
    await visit.test_id("new-persona").click()
    await expect(visit.test_id("name")).to_have_value("Ada")
    await expect(visit.test_id("brief")).to_have_value("A tutor. For nurses.")


async def test_a_brief_on_its_way_when_the_page_is_reloaded_is_made_once(visit: Visit) -> None:
    asked, reloaded = asyncio.Event(), asyncio.Event()

    async def lose(route: Route) -> None:
        if reloaded.is_set():
            await route.continue_()
        else:
            await route.fetch()
            asked.set()

    await visit.open()
    name = f"Once {uuid4()}"
    await visit.test_id("name").fill(name)
    await visit.test_id("brief").fill("A tutor.")
    await visit.page.route("**/v1/personas", lose)
    await visit.test_id("create").click()
    await asked.wait()
    await visit.page.reload()
    reloaded.set()
    await expect(visit.test_id("brief")).to_have_value("A tutor.")
    await visit.test_id("create").click()
    await expect(visit.test_id("title")).to_have_text(name)
    named = [one["name"] for one in (await visit.api("/v1/personas?limit=50")).json()["data"]]
    assert named.count(name) == 1
