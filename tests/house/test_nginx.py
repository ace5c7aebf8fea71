"""A real nginx with the project's configuration holds no event back and passes each end on."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from relay.problems import Code, Problem
from tests.house.nginx_conf import written_for_a_test
from tests.services import Child, eventually, free_port, live_server

BREAK_OFF = b"break off"
EVENTS = "v1/generations/gen_1/events"
USER = " user root;" if os.geteuid() == 0 else ""


class Stream:
    """An application whose one stream sends an event each time the test says so."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.left = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/", self.get),
                Route("/", self.post, methods=["POST"]),
                Route(f"/{EVENTS}", self.get),
            ]
        )

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


def running(nginx: str, directory: Path, relay_ports: list[int], port: int) -> Child:
    """Start nginx on this port before these relays."""
    conf = written_for_a_test(directory, relay_ports, port)
    argv = [nginx, "-e", "/dev/stderr", "-c", str(conf), "-g", f"daemon off;{USER}"]
    return Child(argv, output=directory / "nginx.log")


@contextlib.asynccontextmanager
async def behind_nginx(nginx: str, directory: Path) -> AsyncIterator[tuple[Stream, str]]:
    """Run the application behind nginx, and give it with the address of nginx."""
    stream, port = Stream(), free_port()
    async with live_server(stream.app, grace=0) as url:
        with running(nginx, directory, [int(url.rpartition(":")[2])], port) as child:
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


async def test_a_body_that_nginx_refuses_itself_is_a_problem_too(
    nginx: str, tmp_path: Path
) -> None:
    async with behind_nginx(nginx, tmp_path) as (_, url), httpx.AsyncClient() as client:
        answer = await client.post(url, content=b"x" * (5 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.headers["cache-control"]) == (413, "no-store")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = msgspec.json.decode(answer.content, type=Problem)
    assert (problem.status, problem.code) == (413, Code.BODY_TOO_LARGE)


async def test_no_log_of_nginx_ever_holds_a_ticket(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (stream, url), httpx.AsyncClient() as client:
        for last in (BREAK_OFF, None):
            await stream.events.put(b"data: 0\n\n")
            path = f"{url}{EVENTS}?ticket=hush&after=1.1.0"
            async with client.stream("GET", path) as response:
                chunks = response.aiter_bytes()
                await anext(chunks)
                if last is not None:
                    # An end that nginx would report, quoting the request.
                    await stream.events.put(last)
                    with pytest.raises(httpx.RemoteProtocolError):
                        await anext(chunks)
        log = tmp_path / "access.log"
        await eventually(lambda: len(log.read_text().splitlines()) == 2)
    for line in map(json.loads, log.read_text().splitlines()):
        assert (line["path"], line["status"]) == (f"/{EVENTS}", 200)
    assert "hush" not in log.read_text() + (tmp_path / "nginx.log").read_text()


async def test_what_goes_wrong_elsewhere_is_still_reported(nginx: str, tmp_path: Path) -> None:
    async with behind_nginx(nginx, tmp_path) as (stream, url), httpx.AsyncClient() as client:
        await stream.events.put(BREAK_OFF)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)
        report = tmp_path / "nginx.log"
        await eventually(lambda: "prematurely closed" in report.read_text())


async def test_where_no_relay_answers_a_stream_comes_back_and_a_request_may_be_tried_again(
    nginx: str, tmp_path: Path
) -> None:
    port = free_port()
    with running(nginx, tmp_path, [free_port(), free_port()], port) as child:
        await eventually(lambda: (tmp_path / "nginx.pid").exists() or bool(child.exit_code))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            stream = await client.get(f"/{EVENTS}?ticket=hush")
            assert stream.status_code == 200
            assert stream.headers["content-type"] == "text/event-stream"
            assert stream.text == "retry: 2000\n\n"
            refused = await client.post("/v1/generations", json={})
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"] == "1"
            assert msgspec.json.decode(refused.content, type=Problem).code is Code.OUTCOME_UNKNOWN
        log = tmp_path / "access.log"
        await eventually(lambda: len(log.read_text().splitlines()) == 2)
        assert {json.loads(line)["relay_status"][:3] for line in log.read_text().splitlines()} == {
            "502"
        }
        assert "hush" not in log.read_text() + child.text()


def test_the_configuration_is_whole(nginx: str, tmp_path: Path) -> None:
    conf = written_for_a_test(tmp_path, [free_port()], free_port())
    argv = [nginx, "-t", "-e", "/dev/stderr", "-c", str(conf)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr
