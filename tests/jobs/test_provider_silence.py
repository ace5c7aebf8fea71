"""How long the model may say nothing, what counts as nothing, and that no other wait is ended."""

import asyncio
import time
from contextlib import closing

import pytest

from jobs.provider_silence import ModelSilent, SilenceWatch
from tests.jobs.provider_runs import run
from tests.jobs.raw_model import DONE, END, HEAD, Repeat, Stall, WaitFor, delta, framed, sse

NOTHINGS = {
    "silence": Stall(),
    "comments": Repeat(framed(b": keep-alive\n\n"), 0.03),
    "bytes of no line": Repeat(framed(b"x"), 0.03),
    "role only": Repeat(framed(sse(delta(role="assistant", content=""))), 0.03),
    "empty deltas": Repeat(framed(sse(delta())), 0.03),
    "empty calls": Repeat(framed(sse(delta(tool_calls=[{"index": 0, "function": {}}]))), 0.03),
    "no choices": Repeat(framed(sse({"choices": []})), 0.03),
    "other choice": Repeat(
        framed(sse({"choices": [{"index": 1, "delta": {"content": "x"}}]})), 0.03
    ),
}
OTHER_TIMEOUT = 4.5
"""Below the five seconds of the timeout that a test does not set."""


async def test_no_headers_in_time_is_a_timeout() -> None:
    ended = await run((Stall(),), first=0.3)
    assert ended.code == "model_timeout"
    assert ended.failure is not None
    assert ended.failure.message == "the model sent nothing within 0.3 s"
    assert 0.28 < ended.seconds < OTHER_TIMEOUT
    assert len(ended.model.requests) <= 1


@pytest.mark.parametrize("nothing", NOTHINGS.values(), ids=NOTHINGS.keys())
async def test_what_is_no_token_is_silence_before_the_first(nothing: Stall | Repeat) -> None:
    ended = await run((HEAD, nothing), first=0.3)
    assert (ended.code, ended.events) == ("model_timeout", [])
    assert 0.28 < ended.seconds < OTHER_TIMEOUT
    assert len(ended.model.requests) <= 1


@pytest.mark.parametrize("nothing", NOTHINGS.values(), ids=NOTHINGS.keys())
async def test_what_is_no_token_is_silence_between_tokens(nothing: Stall | Repeat) -> None:
    ended = await run((HEAD, framed(sse(delta(content="a"))), nothing), token=0.3)
    assert (ended.code, ended.text) == ("model_timeout", "a")
    assert ended.failure is not None
    assert ended.failure.message == "the model was silent for 0.3 s"
    assert 0.28 < ended.seconds < OTHER_TIMEOUT
    assert len(ended.model.requests) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "a"},
        {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"refusal": "no"},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_each_token_gives_the_model_time_again(
    fields: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, given = SilenceWatch.heard, list[float]()
    heard = [asyncio.Event() for _ in range(6)]

    def note(watch: SilenceWatch, seconds: float) -> None:
        hear(watch, seconds)
        given.append(seconds)
        for event in heard[: len(given)]:
            event.set()

    monkeypatch.setattr(SilenceWatch, "heard", note)
    token = framed(sse(delta(None, **fields)))
    answer = (HEAD, *[step for event in heard for step in (token, WaitFor(event))])
    ended = await run((*answer, framed(sse(delta("stop")) + DONE), END), token=5.0)
    assert ended.failure is None
    assert given[:6] == [5.0] * 6


async def test_a_watch_ends_only_what_is_awaited_in_it() -> None:
    with closing(SilenceWatch(time.monotonic() + 0.05)) as watch:
        with watch:
            pass
        outside = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, outside.set_result, "untouched")
        assert await outside == "untouched"
        with pytest.raises(ModelSilent), watch:
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_watch_follows_a_deadline_that_moves_away() -> None:
    with closing(SilenceWatch(time.monotonic() + 0.05)) as watch:
        with watch:
            pass
        watch.heard(60)
        later = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, later.set_result, "untouched")
        with watch:
            assert await later == "untouched"


async def test_a_watch_follows_a_deadline_that_comes_nearer() -> None:
    loop = asyncio.get_running_loop()
    with closing(SilenceWatch(time.monotonic() + 60)) as watch:
        with watch:
            pass
        watch.heard(0.05)
        start = loop.time()
        with pytest.raises(ModelSilent), watch:
            await asyncio.Event().wait()
    assert loop.time() - start < 1


async def test_a_cancellation_goes_through_a_watch() -> None:
    entered = asyncio.Event()

    async def wait() -> None:
        with closing(SilenceWatch(time.monotonic() + 60)) as watch, watch:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancellation_at_the_same_moment_is_not_lost() -> None:
    entered = asyncio.Event()

    async def wait() -> None:
        with closing(SilenceWatch(time.monotonic())) as watch, watch:
            asyncio.get_running_loop().call_later(0.01, entered.set)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # The watch has fired; before its block is left the task is cancelled too.
                await entered.wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
