"""`relay.js` in one tab, against a server that plays one scripted connection after another."""

import asyncio
import time

import pytest
from playwright.async_api import Page

from tests.browser.stage import (
    END,
    GENERATION,
    RETRY,
    WEB,
    Connection,
    Stage,
    frame,
    token,
)
from tests.services.waiting import eventually

OPENED = "count => window.seen.connections.filter((one) => one === 'open').length === count"


async def test_events_come_in_order_and_the_terminal_one_ends_it(stage: Stage, page: Page) -> None:
    given = await stage.follow(page, Connection([RETRY, token(1, "a"), token(2, "b"), END]))
    assert [event[:2] for event in given["events"]] == [
        ["token", "1.1.0"],
        ["token", "1.2.0"],
        ["completed", "1.9.0"],
    ]
    assert given["final"] == GENERATION
    assert given["connections"] == ["connecting", "open", "ended"]
    assert stage.cursors() == [None]


@pytest.mark.parametrize("ends", ["cleanly", "aborted"])
async def test_the_next_connection_asks_for_what_follows_the_last_event(
    stage: Stage, page: Page, ends: str
) -> None:
    half = token(3, "lost")[:-3]
    following = asyncio.create_task(
        stage.follow(
            page,
            Connection([RETRY, token(1, "a"), token(2, "b"), half], ends=ends),
            Connection([RETRY, token(3, "c"), END]),
        )
    )
    # A reset throws away what the browser has not read yet, and nobody would be wrong.
    await page.wait_for_function("window.reader?.cursor >= '1.2.0'")
    stage.cut.set()
    given = await following
    assert [event[2].get("text") for event in given["events"]] == ["a", "b", "c", None]
    assert stage.cursors() == [None, "1.2.0"]


async def test_refusals_of_a_proxy_are_waited_out(stage: Stage, page: Page) -> None:
    given = await stage.follow(
        page,
        Connection([RETRY, token(1, "a")]),
        Connection(status=502),
        Connection(status=503, headers={"retry-after": "0"}),
        Connection(status=429, headers={"retry-after": "0"}),
        Connection([RETRY, END]),
    )
    assert given["final"] == GENERATION
    assert stage.cursors() == [None, "1.1.0", "1.1.0", "1.1.0", "1.1.0"]


async def test_a_silent_connection_is_taken_for_dead(stage: Stage, page: Page) -> None:
    await page.clock.install()
    stage.plays(Connection([RETRY, token(1, "a")], ends="silently"), Connection([RETRY, END]))
    await stage.begin(page, silenceMs=60_000)
    await page.wait_for_function("window.reader.cursor === '1.1.0'")
    await page.clock.fast_forward(60_000)
    given = await stage.over(page)
    assert given["final"] == GENERATION
    assert stage.cursors() == [None, "1.1.0"]


async def test_events_without_an_id_leave_the_cursor_where_it_was(stage: Stage, page: Page) -> None:
    beat = {"state": "running", "attempt": 1, "seq": 1, "worker": "alive", "silent_seconds": 3}
    idle = {"state": "running", "silent_seconds": 90}
    given = await stage.follow(
        page,
        Connection(
            [RETRY, token(1, "a"), frame("heartbeat", None, beat), frame("idle", None, idle)]
        ),
        Connection([RETRY, END]),
    )
    assert [event[0] for event in given["events"]] == ["token", "heartbeat", "idle", "completed"]
    assert stage.cursors() == [None, "1.1.0"]


async def test_an_answer_of_nothing_more_gives_the_final_generation(
    stage: Stage, page: Page
) -> None:
    given = await stage.follow(page, Connection(status=204), after="1.9.0")
    assert given["final"] == GENERATION
    assert given["events"] == []
    assert stage.cursors() == ["1.9.0"]


@pytest.mark.parametrize(("status", "code"), [(404, "gone"), (401, "unauthorized")])
async def test_a_refusal_for_good_ends_it_and_says_which(
    stage: Stage, page: Page, status: int, code: str
) -> None:
    given = await stage.follow(page, Connection(status=status))
    assert given["error"] == code
    assert len(stage.asked) == 1


async def test_a_closed_reader_asks_no_more(stage: Stage, page: Page) -> None:
    following = asyncio.create_task(
        stage.follow(page, Connection([RETRY, token(1, "a")], ends="silently"))
    )
    await page.wait_for_function("window.reader?.cursor === '1.1.0'")
    await page.evaluate("window.reader.close()")
    given = await following
    assert given["error"] == "closed"
    assert len(stage.asked) == 1


async def test_a_token_goes_with_every_request(stage: Stage, page: Page) -> None:
    await stage.follow(page, Connection([RETRY, token(1, "a")]), Connection([END]), bearer="prt_1")
    sent = [request.headers.get("authorization") for request in stage.asked]
    assert sent == ["Bearer prt_1", "Bearer prt_1"]


async def test_an_error_of_the_reader_ends_it_and_is_not_asked_for_again(
    stage: Stage, page: Page
) -> None:
    given = await stage.follow(page, Connection([RETRY, token(1, "a"), END]), throws=True)
    assert (given["error"], given["cause"]) == ("handler", "mine")
    assert len(stage.asked) == 1


async def test_comments_of_a_proxy_are_no_sign_of_life(stage: Stage, page: Page) -> None:
    await page.clock.install()
    stage.plays(Connection([RETRY, token(1, "a")], ends="pinging"), Connection([RETRY, END]))
    await stage.begin(page, silenceMs=60_000)
    await page.wait_for_function("window.reader.cursor === '1.1.0'")
    await page.clock.fast_forward(40_000)
    assert len(stage.asked) == 1
    passed = stage.pings
    await eventually(lambda: stage.pings > passed + 5)
    await page.clock.fast_forward(25_000)
    given = await stage.over(page)
    assert given["final"] == GENERATION
    assert stage.cursors() == [None, "1.1.0"]


async def test_where_no_event_comes_through_the_resource_tells_the_end(
    stage: Stage, page: Page
) -> None:
    await page.clock.install()
    stage.plays(*(Connection([RETRY], ends="silently") for _ in range(5)))
    await stage.begin(page, silenceMs=60_000)
    for count in range(1, 6):
        await page.wait_for_function(OPENED, arg=count)
        await page.clock.fast_forward(60_000)
    given = await stage.over(page)
    assert given["events"] == [["completed", "", {"generation": GENERATION}]]
    assert given["final"] == GENERATION
    assert len(stage.asked) == 5


async def test_a_ticket_that_is_refused_is_renewed(stage: Stage, page: Page) -> None:
    given = await stage.follow(
        page,
        Connection([RETRY, token(1, "a")]),
        Connection(status=401),
        Connection([RETRY, token(2, "b"), END]),
        tickets=True,
    )
    assert [event[2].get("text") for event in given["events"]] == ["a", "b", None]
    assert [request.query_params["ticket"] for request in stage.asked] == ["0", "0", "1"]
    assert stage.cursors() == [None, "1.1.0", "1.1.0"]


async def test_a_fresh_ticket_that_is_refused_ends_it(stage: Stage, page: Page) -> None:
    given = await stage.follow(page, Connection(status=401), tickets=True)
    assert given["error"] == "unauthorized"
    assert len(stage.asked) == 1


async def test_a_ticket_that_never_comes_is_left_when_the_network_goes(
    stage: Stage, page: Page
) -> None:
    stage.plays(Connection([RETRY, END]))
    await stage.begin(page, tickets=True, stuck=1)
    await page.wait_for_function("window.seen.tickets === 1")
    await page.context.set_offline(True)
    await page.wait_for_function("window.seen.connections.at(-1) === 'offline'")
    await page.context.set_offline(False)
    given = await stage.over(page)
    assert given["final"] == GENERATION
    assert [request.query_params["ticket"] for request in stage.asked] == ["1"]


async def test_a_stream_of_another_kind_of_server_is_not_called_open(
    stage: Stage, page: Page
) -> None:
    given = await stage.follow(
        page,
        Connection([b"<!doctype html>"], headers={"content-type": "text/html"}),
        Connection([RETRY, END]),
    )
    assert given["connections"] == ["connecting", "waiting", "connecting", "open", "ended"]


async def test_a_reload_goes_on_from_what_was_kept(stage: Stage, page: Page) -> None:
    stage.plays(Connection([RETRY, token(1, "a"), token(2, "b")], ends="silently"))
    await stage.begin(page, keep=True)
    await page.wait_for_function("window.reader.cursor === '1.2.0'")
    await page.reload()
    given = await stage.follow(page, Connection([RETRY, token(3, "c"), END]), keep=True)
    assert given["loaded"] == 2
    assert [event[2].get("text") for event in given["events"]] == ["c", None]
    assert stage.cursors() == [None, "1.2.0"]
    # What has ended is kept no longer.
    await page.reload()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_network_that_comes_back_is_used_at_once(stage: Stage, page: Page) -> None:
    slow = b"retry: 8000\n\n"
    stage.plays(Connection([slow, token(1, "a")], ends="silently"), Connection([END]))
    await stage.begin(page)
    await page.wait_for_function("window.reader.cursor === '1.1.0'")
    await page.context.set_offline(True)
    await page.wait_for_function("window.seen.connections.at(-1) === 'offline'")
    before = time.monotonic()
    await page.context.set_offline(False)
    given = await stage.over(page)
    assert time.monotonic() - before < 4
    assert given["connections"].count("connecting") >= 2
    assert stage.cursors() == [None, "1.1.0"]


def test_the_module_is_one_file_under_ten_kilobytes() -> None:
    source = (WEB / "relay.js").read_bytes()
    assert len(source) < 10_000
    assert b"import " not in source
