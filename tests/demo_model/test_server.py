"""The server around the scripts: what it shows, counts and keeps, and how it treats its clients."""

import asyncio
import importlib
import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from relay.demo_model import SCRIPTS
from relay.demo_model.ledger import KEPT_BYTES, KEPT_REQUESTS, Ledger
from relay.demo_model.script import HUMAN_PACE
from tests.demo_model.asking import HELLO, MAKE, TOOLS, answered, ask, body_of
from tests.demo_model.shown import SHOWN
from tests.services.waiting import eventually

COMPLETIONS = "/v1/chat/completions"


def test_every_part_of_the_grammar_has_a_test_that_shows_it() -> None:
    for subject in ("content", "faults"):
        importlib.import_module(f"tests.demo_model.test_scripts_of_{subject}")
    assert {part.form for part in SCRIPTS} == SHOWN


async def test_the_page_says_that_it_is_scripted_and_lists_every_script(
    http: httpx.AsyncClient,
) -> None:
    page = (await http.get("/")).text
    assert "no language model here" in page
    assert "last 50 requests" in page
    for part in SCRIPTS:
        assert f"<code>{part.form}</code>" in page
        assert f"<code>{part.example}</code>" in page


async def test_the_models_are_the_examples_and_any_script_can_be_looked_up(
    openai: AsyncOpenAI,
) -> None:
    listed = {model.id async for model in openai.models.list()}
    assert listed == {"demo", *(part.example for part in SCRIPTS)}
    model = await openai.models.retrieve("demo-pace-77+broken")
    assert (model.id, model.owned_by) == ("demo-pace-77+broken", "scripted-demo")


@pytest.mark.parametrize("model", ["gpt-5", "demo-nonsense", ""])
async def test_an_unknown_model_is_a_404_in_the_shape_of_openai_errors(
    model: str, http: httpx.AsyncClient
) -> None:
    refused = await http.post(COMPLETIONS, json=body_of(model))
    assert refused.status_code == 404
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


async def test_an_unknown_route_and_a_wrong_method_are_openai_errors_too(
    http: httpx.AsyncClient,
) -> None:
    assert "error" in (await http.get("/v1/nothing")).json()
    wrong = await http.get(COMPLETIONS)
    assert (wrong.status_code, "error" in wrong.json()) == (405, True)


async def test_it_is_healthy(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok", "scripted": True}


async def test_chunks_have_the_shape_of_the_real_ones(http: httpx.AsyncClient) -> None:
    said = await ask(http, "demo-fast", MAKE, tools=TOOLS, stream_options={"include_usage": True})
    first, last = said.chunks[0], said.chunks[-1]
    assert first["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": "", "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }
    assert last["choices"] == []
    tokens = sum(
        1
        for chunk in said.chunks
        for choice in chunk["choices"]
        for text in [choice["delta"].get("content"), *_arguments(choice["delta"])]
        if text
    )
    assert last["usage"]["completion_tokens"] == tokens
    assert last["usage"]["prompt_tokens"] > 10
    for chunk in said.chunks:
        assert chunk.keys() == {*last.keys()}
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["system_fingerprint"] == "scripted-demo-model"
        assert (chunk["usage"] is None) is bool(chunk["choices"])
    without = await ask(http, "demo-fast")
    assert all("usage" not in chunk and chunk["choices"] for chunk in without.chunks)


def _arguments(delta: dict[str, Any]) -> list[str]:
    return [call["function"]["arguments"] for call in delta.get("tool_calls", [])]


async def test_tool_calls_come_in_fragments_the_first_of_which_names_the_call(
    http: httpx.AsyncClient,
) -> None:
    said = await ask(http, "demo-fast", MAKE, tools=TOOLS)
    pieces = [
        call
        for chunk in said.chunks
        for call in chunk["choices"][0]["delta"].get("tool_calls", [])
        if call["index"] == 1
    ]
    assert pieces[0].keys() == {"index", "id", "type", "function"}
    assert pieces[0]["function"] == {"name": "write_file", "arguments": ""}
    assert len(pieces) > 10
    assert all(piece.keys() == {"index", "function"} for piece in pieces[1:])
    assert all(piece["function"].keys() == {"arguments"} for piece in pieces[1:])


async def test_a_whole_answer_equals_the_streamed_one(
    http: httpx.AsyncClient, openai: AsyncOpenAI
) -> None:
    streamed = await ask(http, "demo-fast", MAKE, tools=TOOLS)
    body = body_of("demo-fast", MAKE, tools=TOOLS) | {"stream": False}
    whole = (await http.post(COMPLETIONS, json=body)).json()
    message = whole["choices"][0]["message"]
    assert message["content"] == streamed.text
    assert whole["choices"][0]["finish_reason"] == streamed.finish
    assert [
        {"id": call["id"], **call["function"]} for call in message["tool_calls"]
    ] == streamed.calls
    typed = await openai.chat.completions.create(
        model="demo-fast", messages=[{"role": "user", "content": "Hello."}]
    )
    assert typed.usage is not None
    assert typed.usage.total_tokens == typed.usage.prompt_tokens + typed.usage.completion_tokens


@pytest.mark.parametrize(
    ("model", "status", "whole"),
    [
        ("demo-fast-truncated", 200, False),
        ("demo-fast-badjson", 200, False),
        ("demo-fast-errorevent", 200, True),
    ],
)
async def test_faults_show_in_a_whole_answer_too(
    model: str, status: int, whole: bool, http: httpx.AsyncClient
) -> None:
    answer = await http.post(COMPLETIONS, json=body_of(model) | {"stream": False})
    assert answer.status_code == status
    if whole:
        assert answer.json()["error"]["code"] == "scripted_error"
    else:
        with pytest.raises(json.JSONDecodeError):
            answer.json()


async def test_a_broken_whole_answer_drops_the_connection(http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(COMPLETIONS, json=body_of("demo-fast-broken") | {"stream": False})


async def test_the_same_request_gives_the_same_bytes_apart_from_id_and_time(
    http: httpx.AsyncClient,
) -> None:
    answers = [await ask(http, "demo-fast", MAKE, tools=TOOLS) for _ in range(2)]
    bare = [
        [{k: v for k, v in chunk.items() if k not in ("id", "created")} for chunk in said.chunks]
        for said in answers
    ]
    assert bare[0] == bare[1]
    assert answers[0].chunks[0]["id"] != answers[1].chunks[0]["id"]


async def test_the_default_pace_is_that_of_a_human_reader(http: httpx.AsyncClient) -> None:
    answer = await http.post(COMPLETIONS, json=body_of("demo-words-35"))
    assert 35 / HUMAN_PACE * 0.7 <= answer.elapsed.total_seconds() <= 35 / HUMAN_PACE * 3


async def test_requests_are_kept_for_inspection_the_newest_last(fresh: httpx.AsyncClient) -> None:
    said = await ask(fresh, "demo-fast", MAKE, tools=TOOLS)
    await ask(fresh, "demo-fast", answered(MAKE, said), tools=TOOLS)
    await fresh.post(COMPLETIONS, json=body_of("unknown"), headers={"authorization": "Bearer s3cr"})
    answer = await fresh.get("/requests")
    kept = answer.json()["data"]
    assert [seen["body"]["model"] for seen in kept] == ["demo-fast", "demo-fast", "unknown"]
    assert kept[0]["body"]["messages"] == MAKE
    assert kept[0]["id"] == said.chunks[0]["id"]
    assert "s3cr" not in answer.text


def test_the_memory_of_requests_is_bounded() -> None:
    ledger = Ledger()
    for number in range(KEPT_REQUESTS + 5):
        ledger.note(str(number), b"{}")
    ledger.note("big", b'"' + b"x" * KEPT_BYTES + b'"')
    newest = ledger.newest()
    assert len(newest) == KEPT_REQUESTS
    assert newest[-1]["bytes"] == KEPT_BYTES + 2
    assert "body" not in newest[-1]
    assert ledger.stats()["requests"] == KEPT_REQUESTS + 6


@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("demo", True),
        ("demo-slow", True),
        ("demo-silent", True),
        ("demo-comments", True),
        ("demo-tokens-200000-0", True),
        ("demo", False),
        ("demo-silent", False),
    ],
)
async def test_an_answer_stops_as_soon_as_its_client_leaves(
    model: str, stream: bool, fresh: httpx.AsyncClient
) -> None:
    async def stats() -> dict[str, int]:
        counted: dict[str, int] = (await fresh.get("/stats")).json()
        return counted

    async def gone() -> bool:
        return await stats() == {"open": 0, "requests": 1, "disconnected": 1}

    body = body_of(model) | {"stream": stream}
    async with fresh.stream("POST", COMPLETIONS, json=body) as response:
        assert response.status_code == 200
        assert await stats() == {"open": 1, "requests": 1, "disconnected": 0}
    await eventually(gone, within=2)


async def test_two_hundred_answers_are_told_at_once(fresh: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(ask(fresh, "demo-tokens-40-100", HELLO) for _ in range(200)),
    )
    expected = " ".join(f"t{number}" for number in range(1, 41))
    assert {said.text for said in answers} == {expected}
    assert (await fresh.get("/stats")).json() == {"open": 0, "requests": 200, "disconnected": 0}
