"""The page on a bad network: connections cut, held and refused on purpose."""

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.visit import Visit
from tests.services.proxy import DelayingProxy, Direction
from tests.services.waiting import eventually


@pytest.fixture
async def proxy(relay_url: str) -> AsyncIterator[DelayingProxy]:
    """A network between the browser and the relay that can be broken."""
    async with DelayingProxy.before(relay_url) as proxy:
        yield proxy


@pytest.fixture
async def far_visit(
    chromium: Browser, proxy: DelayingProxy, relay_url: str
) -> AsyncIterator[Visit]:
    """A visitor behind that network."""
    context = await chromium.new_context()
    visit = Visit(await context.new_page(), proxy.url(relay_url))
    yield visit
    await context.close()
    assert visit.troubles == []


async def assert_whole(visit: Visit, count: int) -> None:
    """The answer is stored whole, and the page showed nothing but its beginnings, then all."""
    stored = (await visit.committed_answer())["text"]
    assert stored.split() == [f"t{number}" for number in range(1, count + 1)]
    assert await visit.shown_answer() == stored.rstrip()
    states = await visit.watched("answers")
    assert len(states) > 5
    assert all(stored.startswith(state.rstrip()) for state in states)


IDLE = """retry: 100

event: status
data: {"state":"running","attempt":1}
id: 1.1.0

event: idle
data: {"state":"running","silent_seconds":90}

"""


async def test_the_orderly_end_of_a_silent_stream_is_no_lost_connection(visit: Visit) -> None:
    asked: list[str | None] = []

    async def idle_at_first(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        if len(asked) == 1:
            await route.fulfill(status=200, content_type="text/event-stream", body=IDLE)
            return
        beat = {"state": "running", "attempt": 1, "seq": 1, "worker": "alive", "silent_seconds": 1}
        data = f"event: heartbeat\ndata: {json.dumps(beat)}\n\n"
        head, _, idle = IDLE.partition("event: idle")
        again = head.partition("event: status")[0] + data + f"event: idle{idle}".replace("90", "5")
        if len(asked) < 4:
            await route.fulfill(status=200, content_type="text/event-stream", body=again)
        else:
            await route.continue_()

    await visit.page.route("**/events", idle_at_first)
    await visit.open("#/chat", "demo-silent")
    await visit.page.evaluate(
        """() => {
          window.told = new Set();
          new MutationObserver(() => {
            for (const id of ["activity", "line-state", "line-facts"])
              window.told.add(document.querySelector(`[data-testid="${id}"]`)?.textContent);
          }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    await visit.say("Say nothing")
    await eventually(lambda: len(asked) >= 4)
    told = " | ".join(str(one) for one in await visit.page.evaluate("[...window.told]"))
    assert asked[:4] == [None, "1.1.0", "1.1.0", "1.1.0"]
    assert "lost" not in told
    assert "Away" not in told
    assert "reconnect" not in told
    # Each stream counts its own silence, and the page the whole of it.
    await expect(visit.test_id("activity")).to_contain_text("silent for 90 s")
    await visit.test_id("stop").click()
    await expect(visit.test_id("stop")).to_be_hidden()


async def test_cut_connections_are_taken_up_at_the_next_word(
    far_visit: Visit, proxy: DelayingProxy
) -> None:
    await far_visit.open("#/chat", "demo-tokens-500-80")
    await far_visit.watch()
    await far_visit.say("Count")
    for token in ("t20 ", "t120 ", "t220 "):
        await expect(far_visit.answer).to_contain_text(token)
        assert proxy.abort() > 0
    await far_visit.quiet()
    await assert_whole(far_visit, 500)
    cursors = [request.headers.get("last-event-id") for request in far_visit.streams]
    assert cursors[0] is None
    assert len(cursors) >= 4
    assert all(cursors[1:])


async def test_a_connection_cut_inside_an_event_neither_loses_nor_doubles_it(
    far_visit: Visit, proxy: DelayingProxy
) -> None:
    await far_visit.open("#/chat", "demo-tokens-80-50")
    # After a stall a token comes in the middle of an event as well.
    trap = proxy.cut_before(b" t40", Direction.DOWN)
    await far_visit.watch()
    await far_visit.say("Count")
    await far_visit.quiet()
    assert trap.sprung == 1
    await assert_whole(far_visit, 80)


async def test_a_server_that_is_away_for_a_while_is_waited_for(
    far_visit: Visit, proxy: DelayingProxy
) -> None:
    await far_visit.open("#/chat", "demo-tokens-300-50")
    await far_visit.watch()
    await far_visit.say("Count")
    await expect(far_visit.answer).to_contain_text("t20")
    proxy.refuse()
    proxy.abort()
    await expect(far_visit.test_id("activity")).to_contain_text("Reconnecting")
    await eventually(lambda: proxy.counts.refused > 0)
    proxy.heal()
    await far_visit.quiet()
    await assert_whole(far_visit, 300)


async def test_a_message_whose_answer_was_lost_on_the_way_is_sent_only_once(
    far_visit: Visit, proxy: DelayingProxy
) -> None:
    await far_visit.open("#/chat", "demo-fast")
    await far_visit.say("First")
    await expect(far_visit.test_id("title")).to_have_text("Chat")
    await far_visit.quiet()
    trap = proxy.cut_after(b'"input":"Only once"', Direction.UP)
    await far_visit.say("Only once")
    await expect(far_visit.test_id("turn-assistant")).to_have_count(2)
    await far_visit.quiet()
    assert trap.sprung == 1
    said = [turn["text"] for turn in (await far_visit.conversation())["turns"]]
    assert said.count("Only once") == 1
