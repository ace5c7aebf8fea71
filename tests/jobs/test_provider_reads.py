"""What a quick model sends is read in pairs off real connections, plain and TLS, on both loops."""

import asyncio
import errno
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
import pytest
import uvloop

from jobs.provider import Provider
from jobs.provider_connection import PushedBody
from jobs.provider_http import BODY, PushTransport
from jobs.provider_pairs import SHARE_TO_WAIT, in_pairs
from tests.jobs.provider_runs import ASK, settings_for, text_of
from tests.jobs.raw_model import (
    DONE,
    END,
    HEAD,
    Close,
    Pause,
    Script,
    Stall,
    WaitFor,
    delta,
    framed,
    raw_model,
    sse,
)
from tests.services.tls_front import tls_front

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all is read as it comes")

LONGEST = 1.0
PACE = LONGEST / 4
PIECE = b"x" * 200

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def on(loop: Loop, test: Coroutine[Any, Any, None]) -> None:
    """Runs a test on this loop."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test)


@asynccontextmanager
async def body_of(url: str) -> AsyncIterator[PushedBody]:
    """The body of an answer whose pieces may wait."""
    transport = PushTransport(keep_seconds=60, longest_wait=LONGEST)
    async with (
        httpx2.AsyncClient(transport=transport, trust_env=False, timeout=10) as client,
        client.stream("POST", url, json={}) as answer,
    ):
        yield answer.extensions[BODY]


async def reads(url: str) -> list[int]:
    """How many pieces each read of an answer brought."""
    numbers: list[int] = []

    def take(piece: bytes) -> bool:
        numbers.append(len(piece) // len(PIECE))
        return True

    async with body_of(url) as body:
        await body.push(take, lambda: True)
    return numbers


def quick(pieces: int) -> Script:
    """A head and so many pieces, as a quick model sends them."""
    steps = [step for _ in range(pieces) for step in (framed(PIECE), Pause(PACE))]
    return (HEAD, Pause(PACE), *steps)


@LOOPS
def test_two_pieces_of_a_quick_body_are_read_at_once(loop: Loop) -> None:
    async def run() -> None:
        async with raw_model((*quick(6), END)) as model:
            assert await reads(model.url) == [1, 1, 2, 2]

    on(loop, run())


@LOOPS
def test_they_are_over_tls_too(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with (
            raw_model((*quick(6), END)) as model,
            tls_front(model.url, tmp_path) as (port, authority),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            assert await reads(f"https://localhost:{port}/v1") == [1, 1, 2, 2]

    on(loop, run())


@LOOPS
def test_a_piece_is_read_in_time_though_nothing_follows_it(loop: Loop) -> None:
    async def run() -> None:
        came: list[float] = []
        third = asyncio.Event()

        def take(_: bytes) -> bool:
            came.append(time.monotonic())
            if len(came) == 3:
                third.set()
            return True

        script: Script = (*quick(2), framed(PIECE), WaitFor(third), END)
        async with raw_model(script) as model, body_of(model.url) as body:
            await body.push(take, lambda: True)
        # It did wait, and was there long before the model went on.
        assert SHARE_TO_WAIT * LONGEST - 0.01 <= came[2] - came[1] < LONGEST

    on(loop, run())


@LOOPS
def test_whoever_stops_reading_leaves_nothing_waiting(loop: Loop) -> None:
    async def run() -> None:
        go, waits = asyncio.Event(), asyncio.Event()
        script: Script = (*quick(2), WaitFor(go), framed(b"y"), Stall())

        def may_wait() -> bool:
            waits.set()
            return True

        async with raw_model(script) as model, body_of(model.url) as body:
            pushing = asyncio.create_task(body.push(lambda _: True, may_wait))
            await waits.wait()
            pushing.cancel()
            await asyncio.wait([pushing])
            assert pushing.cancelled()
            began = time.monotonic()
            go.set()
            # Less than was waited for.
            await body.push(lambda piece: piece != b"y")
            assert time.monotonic() - began < SHARE_TO_WAIT * LONGEST / 2

    on(loop, run())


@LOOPS
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_connection_that_is_lost_while_a_piece_is_waited_for_is_an_error(
    loop: Loop,
    tls: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        waits = asyncio.Event()

        def may_wait() -> bool:
            waits.set()
            return True

        async with (
            raw_model((*quick(2), WaitFor(waits), Close())) as model,
            tls_front(model.url, tmp_path) as (port, authority),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            url = f"https://localhost:{port}/v1" if tls else model.url
            async with body_of(url) as body:
                with pytest.raises(httpx2.ReadError):
                    await body.push(lambda _: True, may_wait)
            assert caplog.records == []
        assert waits.is_set()

    on(loop, run())


@LOOPS
def test_the_next_answer_over_a_connection_is_read_as_it_comes(loop: Loop) -> None:
    async def run() -> None:
        transport = PushTransport(keep_seconds=60, longest_wait=LONGEST)
        # The end comes with a piece, which is more than what is waited for.
        last: Script = (framed(PIECE) + framed(PIECE) + END,)
        async with (
            raw_model((*quick(2), *last), (HEAD, framed(b"y"), END)) as model,
            httpx2.AsyncClient(transport=transport, trust_env=False, timeout=10) as client,
        ):
            async with client.stream("POST", model.url, json={}) as answer:
                await answer.extensions[BODY].push(lambda _: True, lambda: True)
            began = time.monotonic()
            assert (await client.post(model.url, json={})).content == b"y"
            assert time.monotonic() - began < SHARE_TO_WAIT * LONGEST / 2
            assert model.connections == 1

    on(loop, run())


async def test_what_follows_thoughts_waits_for_nothing_and_what_follows_text_may() -> None:
    thought, texts = sse(delta(reasoning="Hm")), [sse(delta(content=one)) for one in "abc"]
    steps = [step for one in [thought] * 4 + texts for step in (framed(one), Pause(PACE))]
    end = framed(sse(delta("stop")) + DONE) + END
    batches: list[str] = []
    async with raw_model((HEAD, Pause(PACE), *steps, end)) as model:
        settings = msgspec.structs.replace(settings_for(model.url), relay_flush_ms=LONGEST * 1000)
        async with Provider.open(settings, lambda: True) as provider:
            await provider.round(
                ASK,
                lambda batch: batches.append(text_of(batch)),
                first_deadline=time.monotonic() + 5,
            )
    assert batches == ["a", "bc", ""]


def test_a_kernel_that_refuses_the_mark_has_all_read_as_it_comes() -> None:
    class Refusing:
        def setsockopt(self, *_: object) -> None:
            raise OSError(errno.ENOPROTOOPT, "no such option")

    assert in_pairs(cast(socket.socket, Refusing()), LONGEST) is None


async def test_a_long_flush_lets_no_model_pass_for_silent() -> None:
    steps = [step for one in "abc" for step in (framed(sse(delta(content=one))), Pause(0.5))]
    end = framed(sse(delta("stop")) + DONE) + END
    batches: list[str] = []
    async with raw_model((HEAD, Pause(0.5), *steps, end)) as model:
        settings = msgspec.structs.replace(settings_for(model.url, token=0.8), relay_flush_ms=2000)
        async with Provider.open(settings, lambda: True) as provider:
            await provider.round(
                ASK,
                lambda batch: batches.append(text_of(batch)),
                first_deadline=time.monotonic() + 5,
            )
    assert "".join(batches) == "abc"
