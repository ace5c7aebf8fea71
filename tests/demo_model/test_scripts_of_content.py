"""Scripts that settle what is said, and how fast: each part of the grammar on the wire."""

import json
import re

import httpx
from openai import AsyncOpenAI

from relay.demo_model.script import SLOW_PACE
from tests.demo_model.asking import (
    CHANGE,
    MAKE,
    TOOLS,
    Json,
    Said,
    answered,
    ask,
    body_of,
    sdk_text,
    take,
)
from tests.demo_model.shown import shows


@shows("scripted")
async def test_the_plain_demo_says_the_same_as_the_fast_one(http: httpx.AsyncClient) -> None:
    human, fast = await ask(http, "demo-scripted-words-3"), await ask(http, "demo-fast-words-3")
    assert human.tokens == fast.tokens


@shows("fast")
async def test_a_fast_answer_is_complete(http: httpx.AsyncClient, openai: AsyncOpenAI) -> None:
    said = await ask(http, "demo-fast")
    assert (said.finish, said.done, said.ended) == ("stop", True, True)
    assert (await sdk_text(openai, "demo-fast"))[1] == "stop"


async def spent(http: httpx.AsyncClient, model: str) -> float:
    """Seconds that the answer took, by the server's own account of the bytes' arrival."""
    response = await http.post("/v1/chat/completions", json=body_of(model))
    return response.elapsed.total_seconds()


@shows("slow")
async def test_a_slow_answer_takes_its_time(http: httpx.AsyncClient) -> None:
    assert await spent(http, "demo-slow-words-1") >= 0.7 / SLOW_PACE


@shows("pace-R")
async def test_the_pace_is_that_of_the_name(http: httpx.AsyncClient) -> None:
    assert await spent(http, "demo-pace-100-words-100") >= 0.7
    assert await spent(http, "demo-pace-0-words-100") < 0.7


@shows("delay-MS")
async def test_the_delay_comes_before_the_first_token(http: httpx.AsyncClient) -> None:
    assert await spent(http, "demo-fast-delay-300-words-1") >= 0.3


@shows("words-N")
async def test_words_are_exactly_so_many_tokens(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    said = await ask(http, "demo-fast-words-20", MAKE, tools=TOOLS)
    assert len(said.tokens) == 20
    assert all(re.fullmatch(r" ?\w+", token) for token in said.tokens)
    assert len((await sdk_text(openai, "demo-fast-words-20"))[0].split()) == 20


@shows("tokens-N[-R]")
async def test_tokens_are_numbered_without_a_gap(http: httpx.AsyncClient) -> None:
    said = await ask(http, "demo-tokens-100-0")
    assert said.text.split() == [f"t{n}" for n in range(1, 101)]
    assert len(said.tokens) == 100
    assert await spent(http, "demo-tokens-10-100") >= 0.07


@shows("echo")
async def test_an_echo_comes_one_code_point_a_token(http: httpx.AsyncClient) -> None:
    for text in ("é🎉 —\nx\u0000 <&>", 'half \ud83c of "a pair"'):
        body = json.dumps(body_of("demo-fast-echo", [{"role": "user", "content": text}]))
        answer = await http.post("/v1/chat/completions", content=body)
        assert take(Said(), answer.content).tokens == list(text)


@shows("unicode")
async def test_strange_characters_come_as_escapes_and_a_pair_is_split_over_two_chunks(
    http: httpx.AsyncClient,
) -> None:
    said = await ask(http, "demo-fast-unicode", MAKE, tools=TOOLS)
    expected = "ChidÉ \ud83c\udf89 lone:\ud83c nul:\u0000 — fin"
    assert said.text == expected
    at = said.tokens.index("\ud83c")
    assert said.tokens[at + 1] == "\udf89"
    joined = expected.replace("\ud83c\udf89", "🎉")
    assert said.files() == {"unicode.md": joined}
    raw = await http.post("/v1/chat/completions", json=body_of("demo-fast-unicode"))
    for escape in (rb'"\ud83c"', rb'"\udf89"', rb"\u0000"):
        assert escape in raw.content


@shows("empty")
async def test_an_empty_answer_just_stops(http: httpx.AsyncClient, openai: AsyncOpenAI) -> None:
    said = await ask(http, "demo-empty")
    assert (said.text, said.calls, said.finish, said.done) == ("", [], "stop", True)
    assert await sdk_text(openai, "demo-empty") == ("", "stop")


@shows("text")
async def test_a_text_only_answer_calls_no_tool(http: httpx.AsyncClient) -> None:
    said = await ask(http, "demo-fast-text", CHANGE, tools=TOOLS)
    assert said.text
    assert (said.calls, said.finish) == ([], "stop")


@shows("toolsonly")
async def test_a_tools_only_answer_has_no_text_in_any_round(http: httpx.AsyncClient) -> None:
    question = [*CHANGE[:-1], {"role": "user", "content": "Who is she?"}]
    for messages in (MAKE, CHANGE, question):
        said = await ask(http, "demo-fast-toolsonly", messages, tools=TOOLS)
        assert (said.text, said.finish) == ("", "tool_calls")
        assert said.files()
        closing = await ask(http, "demo-fast-toolsonly", answered(messages, said), tools=TOOLS)
        assert (closing.text, closing.calls, closing.finish) == ("", [], "stop")


@shows("invalidfiles")
async def test_invalid_files_come_beside_a_valid_one_and_one_is_mended(
    http: httpx.AsyncClient,
) -> None:
    first = await ask(http, "demo-fast-invalidfiles", MAKE, tools=TOOLS)
    names = [call["name"] for call in first.calls]
    assert (names.count("write_file"), names.count("run_shell")) == (7, 1)
    whole = [call["arguments"] for call in first.calls if not call["arguments"].endswith("clo")]
    paths = [json.loads(arguments).get("path") for arguments in whole]
    expected = ["../escape.md", "/etc/persona.md", "nul\0.md", "persona.md", "big.md"]
    assert paths == [*expected, None, "safe\u202egnp.md"]
    assert len(json.loads(whole[4])["content"].encode()) == 200_001
    messages = answered(MAKE, first, '{"error": "invalid path"}')
    second = await ask(http, "demo-fast-invalidfiles", messages, tools=TOOLS)
    assert list(second.files()) == ["escape.md"]
    assert "invalid path" in second.files()["escape.md"]
    third = await ask(http, "demo-fast-invalidfiles", answered(messages, second), tools=TOOLS)
    assert (third.calls, third.finish) == ([], "stop")


@shows("neverends")
async def test_an_answer_that_never_ends_calls_a_tool_in_every_round(
    http: httpx.AsyncClient,
) -> None:
    messages: list[Json] = MAKE
    for number in range(1, 12):
        said = await ask(http, "demo-fast-neverends", messages, tools=TOOLS)
        assert list(said.files()) == [f"notes/round-{number}.md"]
        assert said.finish == "tool_calls"
        messages = answered(messages, said)


@shows("dictated")
async def test_a_dictated_answer_is_played_round_by_round(http: httpx.AsyncClient) -> None:
    calls: list[Json] = [
        {"name": "write_file", "arguments": {"content": "é", "path": "a.md"}},
        {"name": "write_file", "arguments": '{"path": '},
    ]
    rounds = {"rounds": [{"text": "One.", "calls": calls}, {"text": "Two.", "finish": "length"}]}
    for said in (json.dumps(rounds), f"Name: Bo\nBrief: {json.dumps(rounds)}"):
        messages = [{"role": "user", "content": said}]
        first = await ask(http, "demo-fast-dictated", messages, tools=TOOLS)
        assert (first.text, first.finish) == ("One.", "tool_calls")
        assert json.loads(first.calls[0]["arguments"]) == calls[0]["arguments"]
        assert first.calls[1]["arguments"] == '{"path": '
        second = await ask(http, "demo-fast-dictated", answered(messages, first), tools=TOOLS)
        assert (second.text, second.finish) == ("Two.", "length")
    assert "no JSON" in (await ask(http, "demo-fast-dictated")).text


@shows("length")
async def test_a_story_cut_by_length_stops_at_its_half(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    half, all_of_it = await ask(http, "demo-fast-length"), await ask(http, "demo-fast")
    assert half.tokens == all_of_it.tokens[: len(all_of_it.tokens) // 2]
    assert (half.finish, half.done) == ("length", True)
    assert (await ask(http, "demo-fast-words-9-length")).text.count(" ") == 8
    assert (await sdk_text(openai, "demo-fast-length"))[1] == "length"


@shows("filter")
async def test_a_filtered_answer_says_so(http: httpx.AsyncClient) -> None:
    said = await ask(http, "demo-fast-filter")
    assert (said.finish, said.done) == ("content_filter", True)
    assert said.text
