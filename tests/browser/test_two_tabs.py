"""Two tabs of one person show every word as it is written, and the same."""

import asyncio

from playwright.async_api import expect

from tests.browser.test_states import assert_committed
from tests.browser.visit import Visit
from tests.services.waiting import eventually


async def test_two_open_tabs_are_in_step(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("First")
    await visit.quiet()
    other = Visit(await visit.page.context.new_page(), visit.url)
    await other.page.goto(visit.page.url)
    await expect(other.answer).to_have_text("First")
    await visit.name_model("demo-tokens-300-50")
    await asyncio.gather(visit.watch(), other.watch())
    before = [*visit.streams, *other.streams]
    await visit.say("Count")
    await expect(other.answer).to_contain_text("t10 ")
    async with visit.nothing_read_again():
        # From then on one is told each word by the other: by whichever heard of it first, from the
        # feed or from the answer to what was sent.
        def reading() -> int:
            over = [*before, *visit.left, *other.left]
            return sum(one not in over for one in [*visit.streams, *other.streams])

        await eventually(lambda: reading() == 1)
        await asyncio.gather(visit.quiet(), other.quiet())
        stored = await assert_committed(visit, 300)
        await visit.assert_streamed(stored, after="First")
        await other.assert_streamed(stored, after="First")
    assert other.troubles == []


async def test_two_tabs_show_the_same_answer(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-300-50")
    await visit.watch()
    await visit.say("Count for two")
    await expect(visit.answer).to_contain_text("t10")
    other = Visit(await visit.page.context.new_page(), visit.url)
    await other.page.goto(visit.page.url)
    await other.watch()
    await expect(other.answer).to_contain_text("t10")
    async with visit.nothing_read_again():
        # It leaves the reading to the first.
        await eventually(lambda: not other.reads)
        await asyncio.gather(visit.quiet(), other.quiet())
        stored = (await visit.committed_answer())["text"]
        await visit.assert_streamed(stored)
        await other.assert_streamed(stored)
    assert other.troubles == []
