"""Scripts that go wrong: the bytes of each fault, and what the official client makes of it."""

import json

import httpx
import openai as openai_errors
import pytest
from openai import AsyncOpenAI

from tests.demo_model.asking import MAKE, TOOLS, Said, answered, ask, body_of, sdk_text, take
from tests.demo_model.shown import shows


async def read_some(http: httpx.AsyncClient, model: str, marks: int, mark: bytes) -> Said:
    """What has come once `mark` has come `marks` times; then the connection is closed."""
    body = b""
    async with http.stream("POST", "/v1/chat/completions", json=body_of(model)) as response:
        assert response.status_code == 200
        async for piece in response.aiter_bytes():
            body += piece
            if body.count(mark) >= marks:
                break
    return take(Said(), body)


@shows("silent[-after-N]")
async def test_a_silent_answer_begins_and_says_no_more(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    for after in (0, 5):
        model = f"demo-fast-silent-after-{after}"
        quick = openai.with_options(timeout=0.3)
        with pytest.raises(openai_errors.APITimeoutError):
            await sdk_text(quick, model)
    said = await read_some(http, "demo-fast-silent-after-5", 6, b"\n\n")
    assert (len(said.tokens), said.finish) == (5, None)


@shows("comments[-after-N]")
async def test_an_answer_of_comments_says_no_more(http: httpx.AsyncClient) -> None:
    for model, tokens in (("demo-comments", 0), ("demo-fast-comments-after-5", 5)):
        said = await read_some(http, model, 3, b": keep-alive\n\n")
        assert (len(said.tokens), said.finish, said.done) == (tokens, None, False)


@shows("truncated[-after-N]")
async def test_a_truncated_answer_ends_cleanly_without_a_finish_reason(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    for after in (0, 1, 7):
        said = await ask(http, f"demo-fast-truncated-after-{after}")
        assert (len(said.tokens), said.finish, said.done, said.ended) == (after, None, False, True)
    text, finish = await sdk_text(openai, "demo-fast-truncated")
    assert text
    assert finish is None


@shows("broken[-after-N]")
async def test_a_broken_answer_drops_the_connection_inside_a_frame(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    pieces: list[bytes] = []

    async def read() -> None:
        request = body_of("demo-fast-broken-after-3")
        async with http.stream("POST", "/v1/chat/completions", json=request) as response:
            async for piece in response.aiter_bytes():
                pieces.append(piece)

    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        await read()
    whole, _, half = b"".join(pieces).rpartition(b"\n\n")
    assert len(take(Said(), whole).tokens) == 3
    assert half.startswith(b"data: {")
    with pytest.raises(openai_errors.APIConnectionError):
        await sdk_text(openai, "demo-fast-broken-after-3")


@shows("badjson[-after-N]")
async def test_malformed_json_stands_in_place_of_one_token(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    answer = await http.post("/v1/chat/completions", json=body_of("demo-fast-badjson-after-2"))
    frames = answer.text.split("\n\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(frames[3].removeprefix("data: "))
    assert frames[-2] == "data: [DONE]"
    with pytest.raises(json.JSONDecodeError):
        await sdk_text(openai, "demo-fast-badjson")


@shows("errorevent[-after-N]")
async def test_an_error_event_ends_the_answer(http: httpx.AsyncClient, openai: AsyncOpenAI) -> None:
    said = await ask(http, "demo-fast-errorevent-after-4")
    assert said.chunks[-1]["error"]["code"] == "scripted_error"
    assert (len(said.tokens), said.finish, said.done, said.ended) == (4, None, False, True)
    with pytest.raises(openai_errors.APIError, match="on request"):
        await sdk_text(openai, "demo-fast-errorevent")


@shows("nodone")
async def test_an_answer_may_lack_its_end_mark(http: httpx.AsyncClient) -> None:
    said = await ask(http, "demo-fast-nodone", stream_options={"include_usage": True})
    assert (said.finish, said.done, said.ended) == ("stop", False, True)
    assert said.chunks[-1]["choices"]


@shows("html")
async def test_a_page_of_html_comes_in_place_of_an_answer(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    answer = await http.post("/v1/chat/completions", json=body_of("demo-html"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert await sdk_text(openai, "demo-html") == ("", None)


@shows("status-S")
async def test_a_status_refuses_the_request_in_the_shape_of_openai_errors(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    expected = {
        401: openai_errors.AuthenticationError,
        404: openai_errors.NotFoundError,
        429: openai_errors.RateLimitError,
        500: openai_errors.InternalServerError,
    }
    for status, error in expected.items():
        answer = await http.post("/v1/chat/completions", json=body_of(f"demo-status-{status}"))
        assert answer.status_code == status
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert answer.headers.get("retry-after") == ("1" if status == 429 else None)
        with pytest.raises(error):
            await sdk_text(openai, f"demo-status-{status}")


@shows("flaky-N[-S]")
async def test_a_flaky_answer_fails_so_many_times_a_body(http: httpx.AsyncClient) -> None:
    body = body_of("demo-fast-flaky-2-500")
    for status in (500, 500, 200, 200):
        assert (await http.post("/v1/chat/completions", json=body)).status_code == status
    other = body_of("demo-fast-flaky-2-500", MAKE)
    assert (await http.post("/v1/chat/completions", json=other)).status_code == 500
    assert not (await ask(http, "demo-fast-flaky-1+truncated")).done
    assert (await ask(http, "demo-fast-flaky-1+truncated")).done


@shows("round-K")
async def test_a_fault_may_wait_for_its_round(http: httpx.AsyncClient) -> None:
    first = await ask(http, "demo-fast-truncated-round-2", MAKE, tools=TOOLS)
    assert first.finish == "tool_calls"
    messages = answered(MAKE, first)
    second = await ask(http, "demo-fast-truncated-round-2", messages, tools=TOOLS)
    assert (second.finish, second.ended) == (None, True)


@shows("bytes-B")
async def test_an_answer_may_be_cut_anywhere_into_writes(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    plain, cut = await ask(http, "demo-fast"), await ask(http, "demo-fast-bytes-7")
    assert plain.tokens == cut.tokens
    request = body_of("demo-fast-words-5-bytes-7")
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    assert len(pieces) > 5
    assert (await sdk_text(openai, "demo-fast-words-5-bytes-1"))[1] == "stop"


@shows("crlf")
async def test_line_ends_may_be_crlf(http: httpx.AsyncClient, openai: AsyncOpenAI) -> None:
    answer = await http.post("/v1/chat/completions", json=body_of("demo-fast-crlf"))
    assert answer.content.endswith(b"data: [DONE]\r\n\r\n")
    assert answer.content.count(b"\n") == answer.content.count(b"\r\n")
    assert (await sdk_text(openai, "demo-fast-crlf"))[1] == "stop"
