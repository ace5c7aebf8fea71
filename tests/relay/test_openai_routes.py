"""The calls of the Responses API at their edges: refusals in OpenAI's shape, and nothing stored."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay
from tests.relay.raw_reader import ask
from tests.services import eventually

RESPONSES = "/openai/v1/responses"
RETRY_COUNT = "x_stainless_retry_count"
PYTHON, JAVASCRIPT = "x_stainless_read_timeout", "x_stainless_timeout"
UNKNOWN = f"resp_{'0' * 26}"


async def post(relay: EdgeRelay, body: object, **headers: str) -> Any:
    return await relay.post(RESPONSES, body, **headers)


async def background(relay: EdgeRelay, **fields: Any) -> dict[str, Any]:
    """A response that was just accepted."""
    answer = await post(relay, {"input": "hello", "background": True, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": "  "}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "assistant", "content": "hi"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"role": "user", "content": {"text": "hi"}}]}, "input"),
        ({"input": "x" * 100_001}, "input"),
        ({"input": "a\x00b"}, "input"),
        ({"input": [{"role": "user", "content": "a\x00b"}]}, "input"),
        ({"input": "hi", "metadata": {"a": 1}}, "metadata"),
        ({"input": "hi", "metadata": {"a": "x" * 513}}, "metadata"),
        ({"input": "hi", "metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"input": "hi", "metadata": {"relay_kind": "song"}}, "metadata"),
        ({"input": "hi", "metadata": {"relay_kind": "refine"}}, "persona_id"),
        ({"input": "hi", "stream": "yes"}, "stream"),
        ({"input": "hi", "conversation": "conv_1"}, "conversation"),
        ({"input": "hi", "prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "hi", "tool_choice": "required"}, "tool_choice"),
        ({"input": "hi", "text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"input": "hi", "previous_response_id": UNKNOWN}, "previous_response_id"),
        ({"input": "hi", "previous_response_id": "x"}, "previous_response_id"),
    ],
)
async def test_what_can_not_be_taken_is_refused_by_name(
    relay: EdgeRelay, body: dict[str, Any], param: str
) -> None:
    before = await relay.stored()
    answer = await post(relay, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (
        400, "invalid_request_error", param
    )  # fmt: skip
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]
    assert await relay.stored() == before


async def test_what_only_shapes_the_model_and_what_is_unknown_is_ignored(relay: EdgeRelay) -> None:
    ignored = {
        "model": "gpt-9", "instructions": "be brief", "temperature": 0.1, "max_output_tokens": 9,
        "tools": [{"type": "function", "name": "f", "parameters": {"a": "\ud800"}}],
        "store": False, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
        "anything": {"new": [1]}, "stream_options": {"include_obfuscation": False},
        "include": ["x"], "metadata": None,
    }  # fmt: skip
    answer = await relay.client.post(
        RESPONSES,
        content=json.dumps({"input": "hi", "background": True, **ignored}),
        headers={"content-type": "application/json"},
    )
    found = answer.json()
    assert (found["status"], found["model"], found["tools"]) == ("queued", "default-model", [])
    assert (await background(relay, model="other-model"))["model"] == "other-model"


async def test_nothing_but_a_response_is_one(relay: EdgeRelay) -> None:
    native = (await relay.chat())["id"]
    for name in (UNKNOWN, native, native.replace("gen_", "resp_"), "x", "%00", "resp_", "é"):
        answer = await relay.client.get(f"{RESPONSES}/{name}")
        assert answer.status_code == 404, name
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_paths_and_methods_and_media_are_told_in_the_same_shape(
    relay: EdgeRelay,
) -> None:
    for answer, status in (
        (await relay.client.get("/openai/v1/nothing"), 404),
        (await relay.client.put(RESPONSES), 405),
        (await relay.client.post(RESPONSES, content=b"input=hi"), 415),
        (
            await relay.client.post(
                RESPONSES, content=b"{", headers={"content-type": "application/json"}
            ),
            400,
        ),
    ):
        assert answer.status_code == status
        assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
        assert answer.headers["x-request-id"]


async def test_each_call_needs_its_scope_and_shows_an_owners_own_alone(guarded: EdgeRelay) -> None:
    answer = await post(guarded, {"input": "hi"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    mine, reading = await guarded.bearer("generate"), await guarded.bearer("read")
    other = await guarded.bearer("admin", owner="bob")
    answer = await guarded.client.post(
        RESPONSES, json={"input": "hi", "background": True}, headers=mine
    )
    path = f"{RESPONSES}/{answer.json()['id']}"
    for method, where in (
        ("GET", path), ("GET", f"{path}/input_items"), ("POST", f"{path}/cancel"),
        ("DELETE", path), ("POST", RESPONSES),
    ):  # fmt: skip
        got = await guarded.client.request(
            method, where, headers=reading, json={} if where == RESPONSES else None
        )
        assert got.status_code == (200 if method == "GET" else 403), (method, where)
        if where != RESPONSES:
            got = await guarded.client.request(method, where, headers=other)
            assert got.status_code == 404
    body = {"input": "hi", "previous_response_id": answer.json()["id"]}
    got = await guarded.client.post(RESPONSES, json=body, headers=other)
    assert (got.status_code, got.json()["error"]["param"]) == (400, "previous_response_id")


async def test_while_one_runs_the_next_is_refused_and_the_sdk_told_not_to_try(
    relay: EdgeRelay,
) -> None:
    first = await background(relay)
    answer = await post(relay, {"input": "more", "previous_response_id": first["id"]})
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "generation_active"


async def test_a_limit_is_a_429_with_the_time_to_wait(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="1") as relay:
        await background(relay)
        answer = await post(relay, {"input": "hello", "background": True})
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) > 0


async def test_a_key_of_the_callers_own_names_a_request_too(relay: EdgeRelay) -> None:
    body = {"input": "hello", "background": True}
    first = await post(relay, body, idempotency_key="k")
    again = await post(relay, body, idempotency_key="k")
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    answer = await post(relay, {**body, "input": "other"}, idempotency_key="k")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    "query", ["starting_after=-1", "starting_after=x", "starting_after=", "stream=1",
              "starting_after=1234567890"],
)  # fmt: skip
async def test_a_position_that_is_none_is_refused(relay: EdgeRelay, query: str) -> None:
    first = await background(relay)
    answer = await relay.client.get(f"{RESPONSES}/{first['id']}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.split("=")[0]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "order=up", "after=msg_x"])
async def test_a_page_that_is_none_is_refused(relay: EdgeRelay, query: str) -> None:
    first = await background(relay)
    answer = await relay.client.get(f"{RESPONSES}/{first['id']}/input_items?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.split("=")[0])


async def test_one_that_never_ran_has_an_end_too(relay: EdgeRelay) -> None:
    first = await background(relay)
    path = f"{RESPONSES}/{first['id']}"
    cancelled = (await relay.client.post(f"{path}/cancel")).json()
    assert (cancelled["status"], cancelled["output"]) == ("cancelled", [])
    told = (await relay.client.get(f"{path}?stream=true")).text
    assert [line for line in told.split("\n") if line.startswith("event: ")] == [
        "event: response.created", "event: response.queued", "event: response.incomplete"
    ]  # fmt: skip
    assert told.endswith("\n\ndata: [DONE]\n\n")
    assert (await relay.client.get(f"{path}?stream=true&starting_after=2")).text == (
        "data: [DONE]\n\n"
    )


async def test_a_wait_takes_a_streams_place_and_gives_it_back(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_STREAMS="1") as relay, relay.live() as url:
        slots, body = relay.services.slots, json.dumps({"input": "hi"}).encode()
        parts = url.removeprefix("http://").split(":")
        _, waiting = await asyncio.open_connection(parts[0], int(parts[1]))
        head = "POST /openai/v1/responses HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        waiting.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await eventually(lambda: slots.open_streams("local") == 1)
        for fields in ({}, {"stream": True}):
            answer = await post(relay, {"input": "more", **fields})
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                429, "too_many_streams"
            )  # fmt: skip
        await background(relay)
        waiting.transport.abort()
        await eventually(lambda: slots.open_streams("local") == 0)
        sources = relay.services.sources
        await eventually(lambda: sources.hub.channels == sources.pulse.streams == 0)


async def test_a_stream_that_is_asked_for_again_always_gets_a_place(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_STREAMS="1") as relay, relay.live() as url:
        path = f"{url}{RESPONSES}/{(await background(relay))['id']}?stream=true"
        async with ask(path) as first, ask(f"{path}&starting_after=0") as again:
            assert (first.status, again.status) == (200, 200)
            assert (await post(relay, {"input": "more", "stream": True})).status_code == 429


async def test_the_parts_of_a_message_are_its_lines(relay: EdgeRelay) -> None:
    parts = [{"type": "input_text", "text": said} for said in ("one", "two")]
    created = await background(relay, input=[{"role": "user", "content": parts}])
    items = await relay.client.get(f"{RESPONSES}/{created['id']}/input_items")
    assert items.json()["data"][0]["content"] == [{"type": "input_text", "text": "one\ntwo"}]


async def test_the_sdk_is_not_to_try_again_where_its_try_would_be_mistaken(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="1") as relay:
        tried = {"x_stainless_retry_count": "0"}
        await post(relay, {"input": "dice", "background": True}, **tried)
        same = await post(relay, {"input": "dice", "background": True}, **tried)
        other = await post(relay, {"input": "another", "background": True}, **tried)
        assert (same.status_code, other.status_code) == (429, 429)
        assert same.json() == other.json()
        assert same.headers["x-should-retry"] == "false"
        assert same.headers["retry-after"] == other.headers["retry-after"]
        assert "x-should-retry" not in other.headers


@pytest.mark.parametrize(
    ("waits", "minutes", "found"),
    [
        ({PYTHON: "600.0"}, 11, True),
        ({PYTHON: "600.0"}, 14, False),
        ({PYTHON: "1200"}, 20, True),
        ({PYTHON: "86400"}, 30, True),
        ({JAVASCRIPT: "1200"}, 20, True),
        ({JAVASCRIPT: "2"}, 1, True),
        ({JAVASCRIPT: "2"}, 11, False),
        # No timeout at all: as long as an answer can take.
        ({}, 30, True),
        ({}, 60, False),
    ],
)
async def test_a_try_is_known_again_for_as_long_as_its_sdk_waits(
    relay: EdgeRelay, waits: dict[str, str], minutes: int, found: bool
) -> None:
    said = {"input": "hi", "background": True}
    first = await post(relay, said, **waits, **{RETRY_COUNT: "0"})
    ago = text("UPDATE generations SET created_at = created_at - :ms")
    await relay.services.db.write_one(ago, {"ms": minutes * 60_000})
    second = await post(relay, said, **waits, **{RETRY_COUNT: "1"})
    assert (second.json()["id"] == first.json()["id"]) == found


async def test_a_request_may_hold_a_whole_chat(relay: EdgeRelay) -> None:
    spoken = [{"role": role, "content": "x" * 500_000} for role in ("user", "assistant")] * 2
    said = [*spoken, {"role": "user", "content": "hi"}]
    assert len((await background(relay, input=said))["id"]) > 5
    too_long = await post(relay, {"input": [*said, *spoken, *spoken]})
    assert too_long.status_code == 413
    assert too_long.json()["error"]["code"] == "body_too_large"


async def test_the_models_are_those_that_a_request_may_name(open_relay: OpenRelay) -> None:
    models = "/openai/v1/models"
    async with open_relay(RELAY_MODEL="main", RELAY_MODELS="org/b, a,main") as relay:
        listed = (await relay.client.get(models)).json()
        assert [one["id"] for one in listed["data"]] == ["main", "org/b", "a"]
        for model in listed["data"]:
            assert (await relay.client.get(f"{models}/{model['id']}")).json() == model
        unknown = await relay.client.get(f"{models}/gpt-9")
        assert (unknown.status_code, unknown.json()["error"]["message"]) == (
            404, "The model 'gpt-9' does not exist",
        )  # fmt: skip
