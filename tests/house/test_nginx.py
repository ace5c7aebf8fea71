"""A real nginx with the project's configuration holds no event back and passes each end on."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.house.nginx_conf import written_for_a_test
from tests.services import Child, eventually, free_port, live_server

BREAK_OFF = b"break off"
USER = " user root;" if os.geteuid() == 0 else ""


class Stream:
    """An application whose one stream sends an event each time the test says so."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.left = asyncio.Event()
        self.app = Starlette(routes=[Route("/", self.get), Route("/", self.post, methods=["POST"])])

    async def get(self, request: Request) -> Response:
        """Stream what the queue holds, and note when the reader has gone."""

        async def body() -> AsyncIterator[bytes]:
            try:
                while (event := await self.events.get()) != BREAK_OFF:
                    yield event
                raise RuntimeError("broken off, as the test asked")
            finally:
                self.left.set()

        return StreamingResponse(body(), media_type="text/event-stream")

    async def post(self, request: Request) -> Response:
        """Say how many bytes came, and under which host."""
        return PlainTextResponse(f"{len(await request.body())} {request.headers['host']}")


@contextlib.asynccontextmanager
async def behind_nginx(nginx: str, directory: Path) -> AsyncIterator[tuple[Stream, str]]:
    """Run the application behind nginx, and give it with the address of nginx."""
    stream, port = Stream(), free_port()
    async with live_server(stream.app, grace=0) as url:
        conf = written_for_a_test(directory, int(url.rpartition(":")[2]), port)
        argv = [nginx, "-e", "/dev/stderr", "-c", str(conf), "-g", f"daemon off;{USER}"]
        with Child(argv, output=directory / "nginx.log") as child:
            await eventually(lambda: (directory / "nginx.pid").exists() or bool(child.exit_code))
            assert child.exit_code is None, child.text()
            yield stream, f"http://127.0.0.1:{port}/"
            child.terminate()


async def test_each_event_arrives_before_the_next_is_written(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (stream, url), httpx.AsyncClient() as client:
        await stream.events.put(b"data: 0\n\n")
        async with client.stream("GET", url, headers={"accept-encoding": "gzip"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert "content-encoding" not in response.headers
            chunks = response.aiter_bytes()
            for number in range(3):
                async with asyncio.timeout(5):
                    assert await anext(chunks) == b"data: %d\n\n" % number
                await stream.events.put(b"data: %d\n\n" % (number + 1))


async def test_a_reader_that_leaves_is_gone_for_the_relay_too(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (stream, url), httpx.AsyncClient() as client:
        await stream.events.put(b"data: 0\n\n")
        async with client.stream("GET", url) as response:
            await anext(response.aiter_bytes())
        async with asyncio.timeout(5):
            await stream.left.wait()


async def test_a_stream_that_breaks_off_is_not_ended_cleanly(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (stream, url), httpx.AsyncClient() as client:
        await stream.events.put(b"data: 0\n\n")
        async with client.stream("GET", url) as response:
            chunks = response.aiter_bytes()
            await anext(chunks)
            await stream.events.put(BREAK_OFF)
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)


async def test_a_body_over_the_relays_limit_reaches_the_relay(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (_, url), httpx.AsyncClient() as client:
        answer = await client.post(url, content=b"x" * (1024 * 1024 + 1))
        assert answer.text == f"{1024 * 1024 + 1} {url.split('/')[2]}"
