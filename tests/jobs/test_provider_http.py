"""The transport below the SDK: what servers may send is read, what they may not ends at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from jobs.provider import _http_client
from jobs.provider_connection import HELD_BYTES, Connection, PushedBody
from jobs.provider_http import BODY, PushTransport
from jobs.settings import Settings
from tests.jobs.raw_model import (
    END,
    HEAD,
    Close,
    Repeat,
    Reset,
    Script,
    Stall,
    WaitFor,
    framed,
    raw_model,
)
from tests.services import eventually
from tests.services.tls_front import tls_front


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client over the transport."""
    transport = PushTransport(keep_seconds=60)
    async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=5) as client:
        yield client


async def pushed(client: httpx2.AsyncClient, url: str) -> list[bytes]:
    """The pieces of an answer as they were pushed."""
    pieces: list[bytes] = []

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return True

    async with client.stream("POST", url, json={}) as answer:
        body: PushedBody = answer.extensions[BODY]
        await body.push(take)
    return pieces


class Wire(asyncio.Transport):
    """A connection that takes everything, and remembers whether it was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes it."""

    def is_closing(self) -> bool:
        """Whether it was dropped."""
        return self.aborted

    def abort(self) -> None:
        """Drops it."""
        self.aborted = True


@pytest.mark.parametrize("leaves", [False, True])
async def test_an_answer_that_came_whole_is_never_taken_for_that_of_the_next_request(
    leaves: bool,
) -> None:
    free: list[Connection] = []
    wire, connection = Wire(), Connection(free.append)
    connection.connection_made(wire)
    first = asyncio.create_task(connection.ask(b"one"))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\none")
    assert free == [connection]
    # Before whoever asked first has taken a step more, another one asks.
    second = connection.ask(b"two")
    assert second.send(None) is not None
    if leaves:
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    else:
        status, _, body = await first
        assert (status, [piece async for piece in body]) == (500, [b"one"])
        await body.aclose()
    assert not wire.aborted
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
    with pytest.raises(StopIteration) as answered:
        second.send(None)
    status, _, body = answered.value.value
    assert (status, [piece async for piece in body]) == (200, [b"two"])


async def test_interim_answers_are_passed_over_and_bodies_may_end_in_any_way(
    client: httpx2.AsyncClient,
) -> None:
    interim: Script = (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", HEAD, framed(b"ab"), END)
    counted: Script = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", b"b")
    closed: Script = (b"HTTP/1.1 200 OK\r\n\r\n", b"ab", Close())
    async with raw_model(interim, counted, closed) as model:
        assert [b"".join(await pushed(client, model.url)) for _ in range(3)] == [b"ab"] * 3
        assert model.connections == 1


async def test_all_chunks_of_one_read_are_one_piece_even_before_what_is_no_http() -> None:
    wire, connection = Wire(), Connection(lambda _: None)
    connection.connection_made(wire)
    asked = asyncio.create_task(connection.ask(b"one"))
    await asyncio.sleep(0)
    chunk = b"2\r\nab\r\n"
    connection.data_received(HEAD + chunk * 100)
    _, _, body = await asked
    connection.data_received(chunk)
    pieces: list[bytes] = []

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return True

    taken = asyncio.create_task(body.push(take))
    await asyncio.sleep(0)
    connection.data_received(chunk * 3)
    connection.data_received(chunk + b"no length\r\n")
    with pytest.raises(httpx2.RemoteProtocolError):
        await taken
    assert pieces == [b"ab" * 100, b"ab", b"ab" * 3, b"ab"]
    assert wire.aborted


@pytest.mark.parametrize("ending", [Close(), Reset()])
async def test_a_framed_body_that_is_cut_is_an_error_after_what_came(
    client: httpx2.AsyncClient, ending: Close | Reset
) -> None:
    taken = asyncio.Event()

    def take(piece: bytes) -> bool:
        assert piece == b"a"
        taken.set()
        return True

    async with (
        raw_model((HEAD, framed(b"a"), WaitFor(taken), ending)) as model,
        client.stream("POST", model.url, json={}) as answer,
    ):
        body: PushedBody = answer.extensions[BODY]
        with pytest.raises(httpx2.ReadError):
            await body.push(take)
    assert taken.is_set()


async def test_no_http_and_a_head_without_end_are_errors(client: httpx2.AsyncClient) -> None:
    endless: Script = (b"HTTP/1.1 200 OK\r\n", Repeat(b"X-A: " + b"a" * 60_000 + b"\r\n", 0.001))
    async with raw_model((b"SSH-2.0-OpenSSH_9.2\r\n", Stall()), endless) as model:
        for _ in range(2):
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(model.url, json={})


async def test_what_its_taker_raises_ends_the_body_and_the_connection(
    client: httpx2.AsyncClient,
) -> None:
    def take(piece: bytes) -> bool:
        raise ValueError(piece)

    async with raw_model((HEAD, framed(b"a"), Stall())) as model:
        with pytest.raises(ValueError, match="a"):
            async with client.stream("POST", model.url, json={}) as answer:
                await answer.extensions[BODY].push(take)
        async with asyncio.timeout(1):
            await model.left.wait()


async def test_a_body_that_nobody_takes_is_not_read_without_bound(
    client: httpx2.AsyncClient,
) -> None:
    flood: Script = (HEAD, framed(b"x" * 50_000) * 200, END)
    async with (
        raw_model(flood) as model,
        client.stream("POST", model.url, json={}) as answer,
    ):
        body: PushedBody = answer.extensions[BODY]
        await eventually(lambda: body._size > HELD_BYTES)
        for _ in range(20):
            await asyncio.sleep(0)
        assert body._size < 3 * HELD_BYTES
        whole = b"".join([piece async for piece in answer.aiter_bytes()])
    assert len(whole) == 200 * 50_000


async def test_a_connection_that_ended_or_spoke_unasked_serves_no_later_request(
    client: httpx2.AsyncClient,
) -> None:
    go = asyncio.Event()
    ended: Script = (HEAD, framed(b"a"), END, WaitFor(go), Close())
    spoke: Script = (HEAD, framed(b"a"), END, WaitFor(go), b"HTTP/1.1 200 OK\r\n\r\n", Stall())
    async with raw_model(ended, spoke, (HEAD, framed(b"a"), END)) as model:
        for connections in (1, 2, 3):
            assert await pushed(client, model.url) == [b"a"]
            assert model.connections == connections
            go.set()
            transport = client._transport
            assert isinstance(transport, PushTransport)
            (kept,) = transport._idle.values()
            if connections < 3:
                await eventually(lambda kept=kept: kept[-1].lost)
            go.clear()


async def test_an_endpoint_behind_a_proxy_is_asked_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url = httpx2.URL("https://models.test/v1")
    async with _http_client(url, Settings()) as direct:
        assert isinstance(direct._transport, PushTransport)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    async with _http_client(url, Settings()) as proxied:
        assert isinstance(proxied, openai.DefaultAioHttpClient)
        assert not isinstance(proxied._transport, PushTransport)
    monkeypatch.setenv("no_proxy", "models.test")
    async with _http_client(url, Settings()) as passed_by:
        assert isinstance(passed_by._transport, PushTransport)


async def test_an_endpoint_is_read_over_tls_by_name_and_refused_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        raw_model((HEAD, framed(b"ab"), END)) as model,
        tls_front(model.url, tmp_path) as (port, authority),
    ):
        for path, host, trusted in (
            ("", "localhost", False),
            (str(authority), "127.0.0.1", False),
            (str(authority), "localhost", True),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", path)
            async with httpx2.AsyncClient(transport=PushTransport(60), trust_env=False) as client:
                url = f"https://{host}:{port}/v1"
                if trusted:
                    assert await pushed(client, url) == [b"ab"]
                else:
                    with pytest.raises(httpx2.ConnectError):
                        await pushed(client, url)
