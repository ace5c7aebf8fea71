"""A server that plays one scripted connection after another to `relay.js` alone in a page."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.services.live_server import live_server

WEB = Path(__file__).parents[2] / "relay" / "web"
GENERATION = {"id": "gen_1", "state": "completed", "output": {"text": "all of it"}}
RETRY = b"retry: 20\n\n"
BEGIN = """async ([id, options]) => {
  const { follow } = await import(new URL("/web/relay.js", location.href).href);
  const seen = window.seen = { events: [], connections: [], loaded: null, tickets: 0 };
  const kept = { save: () => seen.events.length, load: (value) => { seen.loaded = value; } };
  const reader = window.reader = follow(id, {
    ...options,
    keep: options.keep ? kept : undefined,
    token: () => options.bearer ?? null,
    ticket: options.tickets && (async () => {
      if (seen.tickets < (options.stuck ?? 0)) await new Promise(() => { seen.tickets += 1; });
      return `/v1/generations/${id}/events?ticket=${seen.tickets++}`;
    }),
    onEvent: (event) => {
      if (options.throws) throw new Error("mine");
      seen.events.push([event.type, event.id, event.data]);
    },
    onConnection: (connection) => seen.connections.push(connection),
  });
  reader.done.then(
    (final) => { seen.final = final; },
    (error) => { seen.error = error.code; seen.cause = error.cause?.message; },
  ).then(() => { seen.over = true; });
}"""


def frame(kind: str, ident: str | None, data: Any) -> bytes:
    """One event as the relay writes it."""
    head = f"id: {ident}\n" if ident else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def token(seq: int, text: str) -> bytes:
    """A token event of the first attempt."""
    return frame("token", f"1.{seq}.0", {"text": text})


END = frame("completed", "1.9.0", {"generation": GENERATION})


@dataclass(eq=False)
class Connection:
    """One scripted answer: its status, its pieces, and how it ends.

    "aborted" is reset once `cut` is set; "silently" never ends; "pinging" goes on with comments;
    "fed" goes on with what `feed` is given, and ends when that is None.
    """

    pieces: list[bytes] = field(default_factory=list)
    status: int = 200
    ends: str = "cleanly"
    headers: dict[str, str] = field(default_factory=dict)
    more: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    def feed(self, *pieces: bytes | None) -> None:
        """Send these pieces on a connection that is "fed"."""
        for piece in pieces:
            self.more.put_nowait(piece)


@dataclass
class Stage:
    """What the server plays, in order, what it was asked, what it sends and holds open."""

    url: str = ""
    connections: deque[Connection] = field(default_factory=deque)
    asked: list[Request] = field(default_factory=list)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    open_now: int = 0
    most_open: int = 0
    pings: int = 0

    def plays(self, *connections: Connection) -> None:
        """Play these, after what is still to be played."""
        self.connections.extend(connections)

    async def begin(self, page: Page, ident: str = "gen_1", **options: Any) -> None:
        """Follow a generation in this page; `page.evaluate("window.seen")` tells what came."""
        await page.evaluate(BEGIN, [ident, options])

    async def over(self, page: Page) -> dict[str, Any]:
        """Wait until the following ended; what the module said and gave."""
        await page.wait_for_function("window.seen?.over")
        seen: dict[str, Any] = await page.evaluate("({...window.seen, cursor: reader.cursor})")
        return seen

    async def follow(self, page: Page, *connections: Connection, **options: Any) -> dict[str, Any]:
        """Follow to the end over these connections."""
        self.plays(*connections)
        await self.begin(page, **options)
        return await self.over(page)

    def cursors(self) -> list[str | None]:
        """The `Last-Event-ID` of every connection."""
        return [request.headers.get("last-event-id") for request in self.asked]


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """Run the server."""
    stage = Stage()
    async with live_server(_abortable(_application(stage)), lifespan="off") as url:
        stage.url = url
        yield stage


async def blank_page(context: BrowserContext, stage: Stage) -> Page:
    """An empty page beside the module."""
    page = await context.new_page()
    await page.goto(stage.url)
    return page


def _application(stage: Stage) -> Starlette:
    async def events(request: Request) -> Response:
        stage.asked.append(request)
        played = stage.connections.popleft()
        if played.status != 200:
            return Response(status_code=played.status, headers=played.headers)
        headers = {"content-type": "text/event-stream", **played.headers}
        return StreamingResponse(_body(stage, played, request), headers=headers)

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


async def _body(stage: Stage, played: Connection, request: Request) -> AsyncIterator[bytes]:
    stage.open_now += 1
    stage.most_open = max(stage.most_open, stage.open_now)
    try:
        for piece in played.pieces:
            yield piece
            # A turn of the loop for each piece: it leaves as a chunk of its own.
            await asyncio.sleep(0)
        if played.ends == "fed":
            while (more := await played.more.get()) is not None:
                yield more
        while played.ends == "pinging":
            yield b": ping\n\n"
            stage.pings += 1
            await asyncio.sleep(0.02)
        if played.ends == "silently":
            await asyncio.Event().wait()
        if played.ends == "aborted":
            await stage.cut.wait()
            request.scope["abort"]()
            await asyncio.Event().wait()
    finally:
        stage.open_now -= 1


def _abortable(application: Starlette) -> Callable[..., Any]:
    """Give the application a way to reset its connection, as a killed server would."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            transport = getattr(send, "__self__", None)
            scope["abort"] = transport.transport.abort if transport else lambda: None
        await application(scope, receive, send)

    return serve
