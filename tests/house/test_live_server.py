"""A live server streams for real, stops in bounded time and leaves nothing set behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.services import live_server


async def hello(request: Request) -> Response:
    """Answer one short text."""
    return PlainTextResponse("hello")


async def endless(request: Request) -> Response:
    """Stream one event, then stay silent for ever."""

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    return EventSourceResponse(events())


async def test_a_live_server_answers_at_its_url() -> None:
    async with live_server(Starlette(routes=[Route("/", hello)])) as url, httpx.AsyncClient() as c:
        assert (await c.get(url)).text == "hello"


async def test_an_endless_stream_is_read_while_it_runs_and_cut_by_the_stop() -> None:
    stack = contextlib.AsyncExitStack()
    async with httpx.AsyncClient() as client:
        url = await stack.enter_async_context(
            live_server(Starlette(routes=[Route("/", endless)]), grace=0)
        )
        async with client.stream("GET", url) as response:
            chunks = response.aiter_bytes()
            assert await anext(chunks) == b"data: 1\n\n"
            async with asyncio.timeout(5):
                await stack.aclose()
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)
    assert not AppStatus.should_exit


async def test_the_next_server_streams_after_one_was_stopped_with_open_streams() -> None:
    for _ in range(2):
        async with (
            httpx.AsyncClient() as client,
            live_server(Starlette(routes=[Route("/", endless)]), grace=0) as url,
            client.stream("GET", url) as response,
        ):
            assert await anext(response.aiter_bytes()) == b"data: 1\n\n"


async def test_a_lifespan_that_fails_is_an_error_and_not_a_server_without_state() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    with pytest.raises(RuntimeError, match="did not start"):
        async with live_server(Starlette(lifespan=lifespan)):
            raise AssertionError("not reached")
