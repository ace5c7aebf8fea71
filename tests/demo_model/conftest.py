"""A live demo model on a free port, and clients for it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from openai import AsyncOpenAI

from relay.demo_model import create_demo_model
from tests.services.live_server import live_server

UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=0)


@pytest.fixture(scope="module")
async def demo() -> AsyncIterator[str]:
    """The base URL of a demo model that the tests of one file share."""
    async with live_server(create_demo_model()) as url:
        yield url


@pytest.fixture
async def http(demo: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sees the bytes."""
    async with httpx.AsyncClient(base_url=demo, timeout=20, limits=UNLIMITED) as client:
        yield client


@pytest.fixture
async def fresh() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a demo model that nobody has asked anything yet."""
    async with (
        live_server(create_demo_model()) as url,
        httpx.AsyncClient(base_url=url, timeout=20, limits=UNLIMITED) as client,
    ):
        yield client


@pytest.fixture
async def openai(demo: str) -> AsyncIterator[AsyncOpenAI]:
    """The official client, which does not retry."""
    async with AsyncOpenAI(
        base_url=f"{demo}/v1", api_key="any", max_retries=0, timeout=20
    ) as client:
        yield client
