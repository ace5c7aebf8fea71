"""`relay.js` in many tabs of one browser: one reads for all, and few connections suffice."""

import asyncio

from playwright.async_api import BrowserContext, Page

from tests.browser.stage import END, RETRY, Connection, Stage, blank_page, frame, token
from tests.services.waiting import eventually

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

OVERHEAR = """() => {
  window.overheard = [];
  const channel = new BroadcastChannel(new URL("v1/generations/gen_1", location.href).href);
  channel.onmessage = ({ data }) => window.overheard.push(data.to);
}"""


async def reached(page: Page, cursor: str) -> None:
    """Wait until the page was handed the event with this cursor."""
    await page.wait_for_function("cursor => window.reader?.cursor === cursor", arg=cursor)


async def is_now(page: Page, connection: str) -> None:
    """Wait until the page's connection is this."""
    told = "connection => window.seen?.connections.at(-1) === connection"
    await page.wait_for_function(told, arg=connection)


async def overheard(page: Page, cursors: list[str]) -> None:
    """Wait until the reading tabs have told these cursors to all since `OVERHEAR`."""
    told = "cursors => window.overheard.join() === cursors.join()"
    await page.wait_for_function(told, arg=cursors)


async def nobody_waits_but(page: Page, count: int) -> None:
    """Wait until only so many tabs wait to read for all."""
    waiting = """async () => {
      const { pending } = await navigator.locks.query();
      return pending.filter(({ name }) => name.endsWith("gen_1")).length;
    }"""

    async def so_many() -> bool:
        # The page's own waiting takes a promise for an answer.
        return bool(await page.evaluate(waiting) == count)

    await eventually(so_many, within=15)


async def test_one_tab_reads_for_all_that_follow_the_same(
    stage: Stage, profile: BrowserContext
) -> None:
    leader = Connection([RETRY, token(1, "a")], ends="fed")
    joiner = Connection([RETRY, token(1, "a")], ends="fed")
    stage.plays(leader)
    first, second = [await blank_page(profile, stage) for _ in range(2)]
    await stage.begin(first)
    await reached(first, "1.1.0")
    stage.plays(joiner)
    await stage.begin(second)
    await reached(second, "1.1.0")
    leader.feed(token(2, "b"))
    await is_now(second, "shared")
    await eventually(lambda: stage.open_now == 1, within=15)
    leader.feed(token(3, "c"))
    for page in (first, second):
        await reached(page, "1.3.0")
    assert len(stage.asked) == 2
    # The second tab may hear that the first is done before it hears of the end, and asks for that.
    stage.plays(Connection([END]))
    leader.feed(END, None)
    for page in (first, second):
        seen = await stage.over(page)
        assert [event[2].get("text") for event in seen["events"]] == ["a", "b", "c", None]
    assert stage.cursors()[2:] in ([], ["1.3.0"])


async def test_a_tab_that_fell_behind_reads_for_itself_until_it_follows_again(
    stage: Stage, profile: BrowserContext
) -> None:
    leader = Connection([RETRY, token(1, "a"), token(2, "b")], ends="fed")
    joiner = Connection([RETRY], ends="fed")
    first, second = [await blank_page(profile, stage) for _ in range(2)]
    stage.plays(leader)
    await stage.begin(first)
    await reached(first, "1.2.0")
    stage.plays(joiner)
    await stage.begin(second)
    await eventually(lambda: len(stage.asked) == 2, within=15)
    # What the first tab tells does not follow what the second has.
    leader.feed(token(3, "c"))
    await reached(first, "1.3.0")
    assert await second.evaluate("window.seen.events") == []
    joiner.feed(token(1, "a"), token(2, "b"))
    await reached(second, "1.3.0")
    await is_now(second, "shared")
    # For who hears that the first is done before it hears of the end.
    stage.plays(Connection([END]))
    leader.feed(END, None)
    seen = await stage.over(second)
    assert [event[2].get("text") for event in seen["events"]] == ["a", "b", "c", None]


async def test_when_the_reading_tab_is_closed_another_one_reads_on(
    stage: Stage, profile: BrowserContext
) -> None:
    leader = Connection([RETRY, token(1, "a")], ends="fed")
    first, second = [await blank_page(profile, stage) for _ in range(2)]
    stage.plays(leader, Connection([RETRY, token(1, "a")], ends="fed"))
    await stage.begin(first)
    await reached(first, "1.1.0")
    await stage.begin(second)
    await reached(second, "1.1.0")
    leader.feed(token(2, "b"))
    await is_now(second, "shared")
    stage.plays(Connection([RETRY, token(3, "c"), END]))
    await first.close()
    seen = await stage.over(second)
    assert [event[2].get("text") for event in seen["events"]] == ["a", "b", "c", None]
    assert stage.cursors() == [None, None, "1.2.0"]


async def test_tabs_that_were_offline_share_again_though_each_has_read_for_itself(
    stage: Stage, profile: BrowserContext
) -> None:
    first, second = [await blank_page(profile, stage) for _ in range(2)]
    leader = Connection([RETRY, token(1, "a")], ends="fed")
    stage.plays(leader)
    await stage.begin(first, bearer="first")
    await reached(first, "1.1.0")
    stage.plays(Connection([RETRY, token(1, "a")], ends="fed"))
    await stage.begin(second, bearer="second")
    leader.feed(token(2, "b"))
    await is_now(second, "shared")
    await profile.set_offline(True)
    for page in (first, second):
        await is_now(page, "offline")
    again = [Connection([RETRY], ends="fed") for _ in range(2)]
    stage.plays(*again)
    await profile.set_offline(False)
    await eventually(lambda: len(stage.asked) == 4, within=15)
    assert stage.cursors()[2:] == ["1.2.0", "1.2.0"]
    bearers = [request.headers["authorization"] for request in stage.asked[2:]]
    leads, other = [again[bearers.index(f"Bearer {name}")] for name in ("first", "second")]
    # The other tab is the quicker one: what it is told, it has.
    for reads in (other, leads):
        reads.feed(token(3, "c"))
        await reached(second, "1.3.0")
    await is_now(second, "shared")
    await eventually(lambda: stage.open_now == 1, within=15)
    leads.feed(token(4, "d"))
    await reached(second, "1.4.0")
    assert len(stage.asked) == 4
    # For who hears that the first is done before it hears of the end.
    stage.plays(Connection([END]))
    leads.feed(END, None)
    for page in (first, second):
        seen = await stage.over(page)
        assert [event[2].get("text") for event in seen["events"]] == [*"abcd", None]


async def test_what_a_former_reading_tab_told_is_not_joined_to_what_the_next_one_tells(
    stage: Stage, profile: BrowserContext
) -> None:
    first, second, third = [await blank_page(profile, stage) for _ in range(3)]
    leader = Connection([RETRY, *(token(seq, text) for seq, text in enumerate("abcd", 1))])
    leader.ends = "fed"
    successor = Connection([RETRY, token(1, "a"), token(2, "b"), token(3, "c")], ends="fed")
    behind = Connection([RETRY, token(1, "a")], ends="fed")
    for page, connection, cursor in (
        (first, leader, "1.4.0"),
        (second, successor, "1.3.0"),
        (third, behind, "1.1.0"),
    ):
        stage.plays(connection)
        await stage.begin(page)
        await reached(page, cursor)
    await third.evaluate(OVERHEAR)
    leader.feed(token(5, "e"))
    await overheard(third, ["1.5.0"])
    await first.close()
    # Asked there, the answer comes after the word that it reads for all now.
    await nobody_waits_but(second, 1)
    successor.feed(token(4, "d"), token(5, "e"))
    await overheard(third, ["1.5.0", "1.4.0", "1.5.0"])
    # What is past may come merged: it was never where the successor began to tell.
    behind.feed(frame("token", "1.4.0", {"text": "bcd"}))
    await reached(third, "1.5.0")
    await is_now(third, "shared")
    stage.plays(Connection([END]))
    successor.feed(END, None)
    seen = await stage.over(third)
    assert [event[2].get("text") for event in seen["events"]] == ["a", "bcd", "e", None]


async def test_many_streams_take_turns_and_leave_connections_for_other_requests(
    stage: Stage, profile: BrowserContext
) -> None:
    count = 9
    # Turns end by time: none does before all four are seen to be taken.
    await profile.clock.install(time=0)
    await profile.clock.pause_at(60)
    pages = [await blank_page(profile, stage) for _ in range(count)]
    starts = [Connection([RETRY, token(1, "a")], ends="silently") for _ in range(4)]
    stage.plays(*starts)
    for number, page in enumerate(pages):
        await stage.begin(page, f"gen_{number}")
    await eventually(lambda: len(stage.asked) == 4, within=15)
    # All four connections are taken, and the page can still ask for what it needs.
    assert await pages[-1].evaluate("fetch('/v1/generations/gen_8').then(a => a.status)") == 200
    assert len(stage.asked) == 4
    stage.plays(*(Connection([RETRY, END]) for _ in range(count)))
    await profile.clock.resume()
    await asyncio.gather(*(stage.over(page) for page in pages))
    # The server hears of a connection's end a little later than the browser.
    assert stage.most_open < 6
    resumed = [request for request in stage.asked if request.headers.get("last-event-id")]
    assert len(resumed) == 4


async def test_a_hidden_tab_gives_its_connection_to_one_that_is_seen(
    stage: Stage, profile: BrowserContext
) -> None:
    hidden, seen = [await blank_page(profile, stage) for _ in range(2)]
    stage.plays(Connection([RETRY, token(1, "a")], ends="silently"))
    await stage.begin(hidden, "gen_1", connections=1)
    await reached(hidden, "1.1.0")
    await hidden.evaluate(HIDE, True)
    stage.plays(Connection([RETRY, token(1, "x")], ends="fed"))
    await stage.begin(seen, "gen_2", connections=1)
    await reached(seen, "1.1.0")
    await is_now(hidden, "paused")
    stage.plays(Connection([RETRY, END]), Connection([RETRY, END]))
    await hidden.evaluate(HIDE, False)
    await stage.over(hidden)
    assert "1.1.0" in stage.cursors()[2:]


async def test_a_tab_alone_reads_without_locks_too(stage: Stage, page: Page) -> None:
    await page.evaluate("Object.defineProperty(navigator, 'locks', { value: undefined })")
    seen = await stage.follow(page, Connection([RETRY, token(1, "a")]), Connection([END]))
    assert [event[0] for event in seen["events"]] == ["token", "completed"]
    assert stage.cursors() == [None, "1.1.0"]
