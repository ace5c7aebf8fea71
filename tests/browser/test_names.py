"""A place bears its name as soon as the page knows it, and one that is not there says so."""

from collections.abc import Callable

import pytest
from playwright.async_api import Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit
from tests.services.waiting import eventually

NOBODY = "0" * 26


def held() -> tuple[list[Route], Callable[[Route], None]]:
    """A route's requests, held back, and what holds them."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    return routes, hold


async def made(visit: Visit) -> str:
    """Make Ada and leave the page; the address to come back to."""
    await visit.open()
    await visit.create("Ada", "A patient tutor.")
    await visit.quiet()
    address = visit.page.url
    await visit.page.goto("about:blank")
    return address


async def is_called(visit: Visit, name: str) -> None:
    """Wait until the heading and the window's title say so."""
    await expect(visit.test_id("title")).to_have_text(name)
    await expect(visit.page).to_have_title(f"{name} · Persona Relay")


async def test_a_persona_that_loads_is_called_as_the_list_calls_it(visit: Visit) -> None:
    address = await made(visit)
    personas, hold_persona = held()
    lists, hold_list = held()
    await visit.page.route("**/v1/personas/per_*", hold_persona)
    await visit.page.route("**/v1/personas?*", hold_list)
    await visit.page.goto(address)
    await is_called(visit, "Persona")
    # The opening reads the list, and the feed's first word makes it be read again.
    await eventually(lambda: len(lists) >= 2 and len(personas) == 1)
    for route in lists:
        await route.continue_()
        # What the first one brings is outdated, and not listed.
        await visit.drawn()
    await is_called(visit, "Ada")
    box = visit.test_id("composer")
    await expect(box).to_have_attribute("placeholder", "Ask Ada to change, or just ask")
    await expect(visit.test_id("version")).to_be_hidden()
    await visit.keep_screenshot("persona-loading")
    await visit.page.unroute("**/v1/personas/per_*")
    await personas[0].continue_()
    await expect(visit.test_id("version")).to_have_text("version 1")
    await is_called(visit, "Ada")


async def test_a_persona_that_no_list_names_has_its_name_once_it_is_there(visit: Visit) -> None:
    address = await made(visit)
    personas, hold_persona = held()
    await visit.page.route("**/v1/personas/per_*", hold_persona)
    await visit.page.route("**/v1/personas?*", held()[1])
    await visit.page.goto(address)
    await is_called(visit, "Persona")
    await eventually(lambda: len(personas) == 1)
    await visit.page.unroute("**/v1/personas/per_*")
    await personas[0].continue_()
    await is_called(visit, "Ada")


@pytest.mark.parametrize("place", [f"#/personas/per_{NOBODY}", f"#/chat/con_{NOBODY}"])
async def test_a_place_that_is_not_there_is_called_so_and_takes_no_words(
    visit: Visit, place: str
) -> None:
    await visit.page.goto(f"{visit.url}/{place}")
    await is_called(visit, "Not there")
    await expect(visit.test_id("trouble")).to_contain_text("It is not there")
    await expect(visit.test_id("composer")).to_be_hidden()
    await visit.keep_screenshot(f"not-there-{place[2]}")
    await assert_accessible(visit)


async def test_what_is_not_there_leaves_its_name_behind_when_another_place_is_opened(
    visit: Visit,
) -> None:
    await visit.page.goto(f"{visit.url}/#/personas/per_{NOBODY}")
    await is_called(visit, "Not there")
    await visit.test_id("new-chat").click()
    await expect(visit.test_id("title")).to_have_text("Chat")
    await expect(visit.page).to_have_title("New chat · Persona Relay")
    await expect(visit.test_id("composer")).to_be_focused()
