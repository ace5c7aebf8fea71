"""A worker's metrics are served to whoever asks well, and to nobody for longer than is needed."""

import asyncio
import socket
from contextlib import suppress

import httpx
import pytest

from jobs import metrics_server
from jobs.exposition import Metric, gauge
from jobs.metrics_server import serve_metrics
from jobs.settings import InvalidSetting
from tests.services.scrape import Scrape

ANYWHERE = "127.0.0.1:0"


def families() -> list[Metric]:
    """One figure."""
    return [gauge("relay_x", "An x.", 3)]


async def asked(port: int, path: str = "/metrics", method: str = "GET") -> httpx.Response:
    """The answer to one request."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return await client.request(method, path)


async def test_a_scrape_gets_the_figures_and_those_of_the_process() -> None:
    async with serve_metrics(ANYWHERE, families) as port:
        answer = await asked(port, "/metrics?name=x")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        scrape = Scrape(answer.text)
        assert scrape.value("relay_x") == 3
        assert scrape.value("process_resident_memory_bytes") > 0
        assert (await asked(port, method="HEAD")).text == ""


async def test_nothing_else_is_served() -> None:
    async with serve_metrics(ANYWHERE, families) as port:
        assert (await asked(port, "/")).status_code == 404
        assert (await asked(port, method="POST")).status_code == 405


async def test_without_an_address_nothing_listens() -> None:
    async with serve_metrics("", families) as port:
        assert port == 0


async def test_an_address_that_is_taken_is_said_with_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidSetting, match=r"RELAY_METRICS_ADDRESS: .*in use"):
            async with serve_metrics(address, families):
                pass


async def test_one_that_asks_nothing_is_let_go_and_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(metrics_server, "CONNECTIONS", 2)
    async with serve_metrics(ANYWHERE, families) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with asyncio.timeout(5):
            for reader, writer in silent:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
        assert (await asked(port)).status_code == 200


async def test_more_scrapes_than_there_are_places_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTIONS", 1)
    async with serve_metrics(ANYWHERE, families) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(httpx.TransportError):
            await asked(port)
        first.close()


async def test_a_head_without_end_is_cut_off() -> None:
    async with serve_metrics(ANYWHERE, families) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                await writer.drain()
                assert await reader.read() == b""
        writer.close()


async def test_figures_that_fail_cost_the_scrape_alone() -> None:
    broken = [True]

    def sometimes() -> list[Metric]:
        if broken.pop():
            raise RuntimeError("broken")
        return families()

    broken.insert(0, False)
    async with serve_metrics(ANYWHERE, sometimes) as port:
        with pytest.raises(httpx.TransportError):
            await asked(port)
        assert (await asked(port)).status_code == 200
