"""`relay.js` alone, against a server that plays one scripted connection after another."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.services.live_server import live_server

WEB = Path(__file__).parents[2] / "relay" / "web"
GENERATION = {"id": "gen_1", "state": "completed"}
FOLLOW = """async ([options]) => {
  const { follow } = await import(new URL("/web/relay.js", location.href).href);
  const events = [], connections = [];
  const reader = follow("gen_1", {
    ...options,
    token: () => options.bearer ?? null,
    onEvent: (event) => events.push([event.type, event.id, event.data]),
    onConnection: (connection) => connections.push(connection),
  });
  window.reader = reader;
  try {
    return { events, connections, final: await reader.done, cursor: reader.cursor };
  } catch (error) {
    return { events, connections, error: error.code, cursor: reader.cursor };
  }
}"""


def frame(kind: str, ident: str | None, data: Any) -> bytes:
    """One event as the relay writes it."""
    head = f"id: {ident}\n" if ident else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def token(seq: int, text: str) -> bytes:
    return frame("token", f"1.{seq}.0", {"text": text})


END = frame("completed", "1.9.0", {"generation": GENERATION})
RETRY = b"retry: 20\n\n"


@dataclass
class Connection:
    """One scripted answer: its status, its pieces, and how it ends."""

    pieces: list[bytes] = field(default_factory=list)
    status: int = 200
    ends: str = "cleanly"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Stage:
    """A server that plays `connections` in order, and what it was asked.

    A connection that ends "aborted" is reset once `cut` is set.
    """

    page: Page
    connections: list[Connection]
    asked: list[Request]
    cut: asyncio.Event

    async def follow(self, *connections: Connection, **options: Any) -> dict[str, Any]:
        """Follow to the end over these connections; what the module said and gave."""
        self.connections.extend(connections)
        given: dict[str, Any] = await self.page.evaluate(FOLLOW, [options])
        return given

    def cursors(self) -> list[str | None]:
        """The `Last-Event-ID` of every connection."""
        return [request.headers.get("last-event-id") for request in self.asked]


def _application(
    connections: list[Connection], asked: list[Request], cut: asyncio.Event
) -> Starlette:
    async def events(request: Request) -> Response:
        asked.append(request)
        played = connections.pop(0)

        async def body() -> AsyncIterator[bytes]:
            for piece in played.pieces:
                yield piece
                # A turn of the loop for each piece: it leaves as a chunk of its own.
                await asyncio.sleep(0)
            if played.ends == "silently":
                await asyncio.Event().wait()
            if played.ends == "aborted":
                await cut.wait()
                request.scope["abort"]()
                await asyncio.Event().wait()

        headers = {"content-type": "text/event-stream", **played.headers}
        if played.status != 200:
            return Response(status_code=played.status, headers=played.headers)
        return StreamingResponse(body(), headers=headers)

    async def generation(request: Request) -> Response:
        return JSONResponse(GENERATION)

    async def index(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>empty</title>")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/v1/generations/{id}/events", events),
            Route("/v1/generations/{id}", generation),
            Mount("/web", StaticFiles(directory=WEB)),
        ]
    )


def _abortable(application: Starlette) -> Callable[..., Any]:
    """Give the application a way to reset its connection, as a killed server would."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            transport = getattr(send, "__self__", None)
            scope["abort"] = transport.transport.abort if transport else lambda: None
        await application(scope, receive, send)

    return serve


@pytest.fixture
async def stage(chromium: Browser) -> AsyncIterator[Stage]:
    """A blank page beside the modules and a scripted stream."""
    connections: list[Connection] = []
    asked: list[Request] = []
    cut = asyncio.Event()
    application = _abortable(_application(connections, asked, cut))
    context = await chromium.new_context()
    async with live_server(application, lifespan="off") as url:
        page = await context.new_page()
        await page.goto(url)
        yield Stage(page, connections, asked, cut)
        await context.close()


async def test_events_come_in_order_and_the_terminal_one_ends_it(stage: Stage) -> None:
    given = await stage.follow(Connection([RETRY, token(1, "a"), token(2, "b"), END]))
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
    stage: Stage, ends: str
) -> None:
    half = token(3, "lost")[:-3]
    following = asyncio.create_task(
        stage.follow(
            Connection([RETRY, token(1, "a"), token(2, "b"), half], ends=ends),
            Connection([RETRY, token(3, "c"), END]),
        )
    )
    # A reset throws away what the browser has not read yet, and nobody would be wrong.
    await stage.page.wait_for_function("window.reader?.cursor >= '1.2.0'")
    stage.cut.set()
    given = await following
    assert [event[2].get("text") for event in given["events"]] == ["a", "b", "c", None]
    assert stage.cursors() == [None, "1.2.0"]


async def test_refusals_of_a_proxy_are_waited_out(stage: Stage) -> None:
    given = await stage.follow(
        Connection([RETRY, token(1, "a")]),
        Connection(status=502),
        Connection(status=503, headers={"retry-after": "0"}),
        Connection(status=429, headers={"retry-after": "0"}),
        Connection([RETRY, END]),
    )
    assert given["final"] == GENERATION
    assert stage.cursors() == [None, "1.1.0", "1.1.0", "1.1.0", "1.1.0"]


async def test_a_silent_connection_is_taken_for_dead(stage: Stage) -> None:
    given = await stage.follow(
        Connection([RETRY, token(1, "a")], ends="silently"),
        Connection([RETRY, END]),
        silenceMs=250,
    )
    assert given["final"] == GENERATION
    assert stage.cursors() == [None, "1.1.0"]


async def test_events_without_an_id_leave_the_cursor_where_it_was(stage: Stage) -> None:
    beat = {"state": "running", "attempt": 1, "seq": 1, "worker": "alive", "silent_seconds": 3}
    idle = {"state": "running", "silent_seconds": 90}
    given = await stage.follow(
        Connection(
            [RETRY, token(1, "a"), frame("heartbeat", None, beat), frame("idle", None, idle)]
        ),
        Connection([RETRY, END]),
    )
    assert [event[0] for event in given["events"]] == ["token", "heartbeat", "idle", "completed"]
    assert stage.cursors() == [None, "1.1.0"]


async def test_an_answer_of_nothing_more_gives_the_final_generation(stage: Stage) -> None:
    given = await stage.follow(Connection(status=204), after="1.9.0")
    assert given["final"] == GENERATION
    assert given["events"] == []
    assert stage.cursors() == ["1.9.0"]


@pytest.mark.parametrize(("status", "code"), [(404, "gone"), (401, "unauthorized")])
async def test_a_refusal_for_good_ends_it_and_says_which(
    stage: Stage, status: int, code: str
) -> None:
    given = await stage.follow(Connection(status=status))
    assert given["error"] == code
    assert len(stage.asked) == 1


async def test_a_closed_reader_asks_no_more(stage: Stage) -> None:
    following = asyncio.create_task(
        stage.follow(Connection([RETRY, token(1, "a")], ends="silently"))
    )
    await stage.page.wait_for_function("window.reader?.cursor === '1.1.0'")
    await stage.page.evaluate("window.reader.close()")
    given = await following
    assert given["error"] == "closed"
    assert len(stage.asked) == 1


async def test_a_paused_reader_takes_up_where_it_was(stage: Stage) -> None:
    following = asyncio.create_task(
        stage.follow(
            Connection([RETRY, token(1, "a")], ends="silently"),
            Connection([RETRY, token(2, "b"), END]),
        )
    )
    await stage.page.wait_for_function("window.reader?.cursor === '1.1.0'")
    await stage.page.evaluate("window.reader.pause()")
    await stage.page.evaluate("window.reader.resume()")
    given = await following
    assert [event[2].get("text") for event in given["events"]] == ["a", "b", None]
    assert "paused" in given["connections"]
    assert stage.cursors() == [None, "1.1.0"]


async def test_a_token_goes_with_every_request(stage: Stage) -> None:
    await stage.follow(Connection([RETRY, token(1, "a")]), Connection([END]), bearer="prt_1")
    sent = [request.headers.get("authorization") for request in stage.asked]
    assert sent == ["Bearer prt_1", "Bearer prt_1"]


async def test_an_error_of_the_reader_ends_it_and_is_not_asked_for_again(stage: Stage) -> None:
    stage.connections.append(Connection([RETRY, token(1, "a"), END]))
    code = await stage.page.evaluate(
        """async () => {
          const { follow } = await import("/web/relay.js");
          const reader = follow("gen_1", { onEvent: () => { throw new Error("mine"); } });
          return reader.done.then(() => "done", (error) => `${error.code} ${error.cause.message}`);
        }"""
    )
    assert code == "handler mine"
    assert len(stage.asked) == 1
