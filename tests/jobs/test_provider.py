"""A round over a real socket: what is asked, what is given, and how each kind of end is told."""

import asyncio
import gzip
import time
from contextvars import ContextVar

import pytest

from jobs.generation import Usage
from jobs.provider import CallPiece, Finished, ModelRequest, Provider, ProviderFailed, TextPiece
from jobs.settings import InvalidSetting, Settings
from tests.jobs.provider_runs import ASK, KEY, ask, opened, run, settings_for, streamed
from tests.jobs.raw_model import (
    ANSWER,
    DONE,
    END,
    HEAD,
    UNFRAMED_HEAD,
    WHOLE,
    Close,
    Pause,
    Reset,
    Script,
    Stall,
    Step,
    WaitFor,
    delta,
    framed,
    raw_model,
    sse,
    usage,
)


async def test_a_round_gives_its_text_and_ends_with_reason_and_usage() -> None:
    whole = await run(ANSWER)
    assert whole.failure is None
    assert whole.events == [TextPiece("Hello"), Finished("stop", Usage(7, 2))]


async def test_each_read_of_the_network_is_one_batch() -> None:
    go = asyncio.Event()
    script: Script = (
        HEAD + framed(sse(delta(content="a")) + sse(delta(content="b"))),
        WaitFor(go),
        framed(sse(delta(content="c")) + sse(delta("stop")) + DONE) + END,
    )
    async with opened(script) as (_, provider):
        batches = []
        async with streamed(provider, ASK, first_deadline=time.monotonic() + 5) as stream:
            async for batch in stream:
                batches.append(list(batch))
                go.set()
    assert batches == [[TextPiece("ab")], [TextPiece("c"), Finished("stop", None)]]


async def test_what_takes_an_answer_stands_where_it_was_asked_for() -> None:
    asking = ContextVar[int]("asking")
    stood: list[int] = []
    piece = framed(sse(delta(content="a")))
    # What comes by itself is taken in the connection's own turn.
    script = (HEAD, Pause(0.02), piece, Pause(0.02), framed(sse(delta("stop")) + DONE) + END)
    async with opened(script) as (model, provider):
        for number in (1, 2):
            asking.set(number)
            deadline = time.monotonic() + 5
            await provider.round(ASK, lambda _: stood.append(asking.get()), first_deadline=deadline)
    assert model.connections == 1
    assert stood == [1, 1, 2, 2]


async def test_the_request_is_a_streamed_chat_completion_that_asks_for_usage() -> None:
    tool = {"type": "function", "function": {"name": "use_skill", "parameters": {}}}
    request = ModelRequest("some-model", [{"role": "user", "content": "Grüße \U0001f30d"}], [tool])
    async with opened(ANSWER) as (model, provider):
        await ask(provider, request)
        await ask(provider)
    first, second = model.requests
    assert first == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Grüße \U0001f30d"}],
        "tools": [tool],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "tools" not in second
    assert b"POST /v1/chat/completions " in model.headers[0]
    assert f"Bearer {KEY}".encode() in model.headers[0]


async def test_messages_of_a_tool_round_go_out_as_they_are() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "use_skill", "arguments": "{}"}}
    messages: list[dict[str, object]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "{}"},
    ]
    async with opened(ANSWER) as (model, provider):
        await ask(provider, ModelRequest("m", messages))
    assert model.requests[0]["messages"] == messages


async def test_a_connection_serves_one_round_after_the_other() -> None:
    late_end: Script = (HEAD, framed(WHOLE), Pause(0.02), END)
    async with opened(late_end) as (model, provider):
        for _ in range(3):
            await ask(provider)
    assert len(model.requests) == 3
    assert model.connections == 1


async def test_more_than_a_hundred_rounds_stream_at_once() -> None:
    go = asyncio.Event()
    script: Script = (HEAD, WaitFor(go), framed(WHOLE), END)
    async with opened(script) as (model, provider):
        rounds = [asyncio.create_task(ask(provider)) for _ in range(120)]
        async with asyncio.timeout(10):
            while len(model.requests) < 120:
                model.asked.clear()
                await model.asked.wait()
        go.set()
        answers = await asyncio.gather(*rounds)
    assert all(answer[-1] == Finished("stop", Usage(7, 2)) for answer in answers)


async def test_compressed_streams_are_read() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    whole = await run((head, framed(gzip.compress(WHOLE)), END))
    assert whole.text == "Hello"


async def test_nothing_is_awaited_after_done() -> None:
    whole = await run((HEAD, framed(WHOLE), Stall()))
    assert whole.finished == Finished("stop", Usage(7, 2))
    assert whole.seconds < 1


async def test_an_answer_ends_without_done_when_its_body_does() -> None:
    body = sse(delta(content="Hi")) + sse(delta("length"))
    assert (await run((HEAD, framed(body), END))).finished == Finished("length", None)
    assert (await run((UNFRAMED_HEAD, body, Close()))).finished == Finished("length", None)


@pytest.mark.parametrize("broken", [Close(), Reset()])
async def test_a_connection_lost_after_the_finish_reason_loses_nothing(broken: Step) -> None:
    given = asyncio.Event()
    answer = sse(delta(content="Hi")) + sse(delta("stop"))
    whole = await run((HEAD, framed(answer), WaitFor(given), broken), given=given)
    assert whole.failure is None
    assert whole.events == [TextPiece("Hi"), Finished("stop", None)]


async def test_an_answer_that_is_never_closed_waits_shortly_for_its_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.provider._USAGE_SECONDS", 0.2)
    whole = await run((HEAD, framed(sse(delta("stop", content="Hi"))), Stall()))
    assert whole.events == [TextPiece("Hi"), Finished("stop", None)]
    assert 0.15 < whole.seconds < 2
    late = (HEAD, framed(sse(delta("stop", content="Hi"))), framed(sse(usage(1, 1))), Stall())
    assert (await run(late)).finished == Finished("stop", Usage(1, 1))


PARTIAL = sse(delta(content="Hel"))


@pytest.mark.parametrize(
    "rest",
    [
        (END,),
        (framed(DONE), END),
        (Close(),),
        (b"1000\r\ndata: {", Close()),
        (b"1000\r\ndata: {", Reset()),
    ],
    ids=["clean end", "done", "FIN", "FIN in a chunk", "RST in a chunk"],
)
async def test_a_stream_without_a_finish_reason_is_truncated(rest: Script) -> None:
    given = asyncio.Event()
    ended = await run((HEAD, framed(PARTIAL), WaitFor(given), *rest), given=given)
    assert ended.events == [TextPiece("Hel")]
    assert ended.code == "model_truncated"
    assert ended.failure is not None
    assert ended.failure.retryable


async def test_broken_framing_ends_within_the_silence_that_is_allowed() -> None:
    given = asyncio.Event()
    broken: Script = (HEAD, framed(PARTIAL), WaitFor(given), b"not a chunk size\r\n", Stall())
    ended = await run(broken, token=0.2, given=given)
    assert ended.text == "Hel"
    assert ended.code == "model_truncated"


async def test_an_unframed_body_that_is_cut_is_truncated() -> None:
    ended = await run((UNFRAMED_HEAD, PARTIAL, b'data: {"choi', Close()))
    assert (ended.text, ended.code) == ("Hel", "model_truncated")


async def test_a_stream_of_nothing_is_truncated() -> None:
    assert (await run((HEAD, END))).code == "model_truncated"
    assert (await run((HEAD, framed(b": hello\n\n"), END))).code == "model_truncated"


async def test_a_page_or_json_instead_of_a_stream_is_an_error_that_shows_it() -> None:
    page = b"<html><title>Welcome to   the proxy</title>" + b"<p>long</p>" * 100 + b"</html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    ended = await run((head + page,))
    assert ended.code == "model_error"
    assert ended.failure is not None
    assert "Welcome to the proxy" in ended.failure.message
    assert len(ended.failure.message) <= 200
    body = b'{"error": {"message": "overloaded", "code": 503}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    ended = await run((head + body,))
    assert ended.code == "model_error"
    assert ended.failure is not None
    assert "overloaded" in ended.failure.message


async def test_what_came_before_an_error_is_given() -> None:
    body = PARTIAL + sse({"error": {"message": "the GPU melted", "code": "server_error"}})
    ended = await run((HEAD, framed(body), Stall()))
    assert (ended.text, ended.code) == ("Hel", "model_error")
    assert ended.failure is not None
    assert ended.failure.message == "the model reported an error: the GPU melted"


async def test_broken_compression_is_no_crash() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    ended = await run((head, framed(b"this is no gzip at all"), END))
    assert ended.code == "model_truncated"


@pytest.mark.parametrize("where", ["headers", "first token", "mid-stream", "flood"])
async def test_a_cancelled_reader_closes_the_upstream_at_once(where: str) -> None:
    scripts: dict[str, Script] = {
        "headers": (Stall(),),
        "first token": (HEAD, Stall()),
        "mid-stream": (HEAD, framed(PARTIAL), Stall()),
        "flood": (HEAD, framed(PARTIAL) * 20_000, Stall()),
    }
    async with opened(scripts[where]) as (model, provider):
        reached = asyncio.Event()

        async def read() -> None:
            async with streamed(provider, ASK, first_deadline=time.monotonic() + 5) as batches:
                async for _ in batches:
                    reached.set()
                    if where == "flood":
                        await asyncio.Event().wait()

        task = asyncio.create_task(read())
        await (reached if where in ("mid-stream", "flood") else model.asked).wait()
        task.cancel()
        async with asyncio.timeout(0.5):
            await model.left.wait()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_leaving_the_block_closes_the_upstream_at_once() -> None:
    async with opened((HEAD, framed(PARTIAL), Stall())) as (model, provider):
        async with streamed(provider, ASK, first_deadline=time.monotonic() + 5) as batches:
            async for _ in batches:
                break
        async with asyncio.timeout(0.5):
            await model.left.wait()


async def test_a_failed_round_leaves_no_connection_open() -> None:
    async with opened((HEAD, framed(PARTIAL), Stall()), token=0.1) as (model, provider):
        with pytest.raises(ProviderFailed, match="silent"):
            await ask(provider)
        async with asyncio.timeout(0.5):
            await model.left.wait()


async def test_an_endpoint_of_ones_own_needs_no_key() -> None:
    async with raw_model(ANSWER) as model:
        settings = Settings(openai_base_url=model.url)
        async with Provider.open(settings) as provider:
            await ask(provider)
    assert b"Bearer none" in model.headers[0]


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (Settings(), "OPENAI_API_KEY"),
        (Settings(openai_api_key="sk-\nx"), "OPENAI_API_KEY"),
        (Settings(openai_api_key="schlüssel"), "OPENAI_API_KEY"),
        (settings_for("localhost:8000/v1"), "OPENAI_BASE_URL"),
        (settings_for("ftp://host/v1"), "OPENAI_BASE_URL"),
        (settings_for("http://"), "OPENAI_BASE_URL"),
        (settings_for("http://host:port/v1"), "OPENAI_BASE_URL"),
    ],
)
async def test_a_wrong_setting_is_named_at_the_start(settings: Settings, variable: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        async with Provider.open(settings):
            raise AssertionError("opened")
    assert raised.value.variable == variable


async def test_a_proxy_of_the_environment_is_not_asked_for_an_endpoint_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert (await run(ANSWER)).text == "Hello"


async def test_tool_calls_come_as_fragments() -> None:
    def call(index: int, **fields: object) -> bytes:
        return sse(delta(tool_calls=[{"index": index, **fields}]))

    body = b"".join(
        [
            call(0, id="a", type="function", function={"name": "write_file", "arguments": ""}),
            call(0, function={"arguments": '{"pa'}),
            call(1, id="b", type="function", function={"name": "use_skill", "arguments": "{}"}),
            call(0, function={"arguments": 'th":1}'}),
            sse(delta("tool_calls")),
            DONE,
        ]
    )
    assert (await run((HEAD, framed(body), END))).events == [
        CallPiece(0, "a", "write_file", ""),
        CallPiece(0, None, None, '{"pa'),
        CallPiece(1, "b", "use_skill", "{}"),
        CallPiece(0, None, None, 'th":1}'),
        Finished("tool_calls", None),
    ]
