"""Requests are checked as strictly as the real API checks them."""

import json
from typing import Any

import httpx
import pytest

from relay.demo_model.chat_request import BadRequest, parse_chat_request
from tests.demo_model.asking import HELLO, TOOLS

CALL = {"id": "c1", "type": "function", "function": {"name": "write_file", "arguments": "{}"}}
CALLED = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": HELLO}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": 7, "messages": HELLO}, "model"),
        ({"model": "demo", "messages": HELLO, "n": 2}, "n"),
        ({"model": "demo", "messages": HELLO, "max_tokens": -1}, "max_completion_tokens"),
        (
            {"model": "demo", "messages": HELLO, "stream_options": {"include_usage": True}},
            "stream_options",
        ),
        ({"model": "demo", "messages": HELLO, "tools": [{"type": "web"}]}, "tools[0].type"),
        ({"model": "demo", "messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": "user"}]}, "messages[0].content"),
        ({"model": "demo", "messages": CALLED}, "messages"),
        ({"model": "demo", "messages": [*CALLED, *HELLO]}, "messages"),
        (
            {
                "model": "demo",
                "messages": [*HELLO, {"role": "tool", "tool_call_id": "c9", "content": ""}],
            },
            "messages[1].tool_call_id",
        ),
        (
            {"model": "demo", "messages": [{"role": "user", "content": "", "tool_calls": [CALL]}]},
            "messages[0].tool_calls",
        ),
    ],
)
def test_a_request_that_the_real_api_refuses_is_refused_with_its_field(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_chat_request(json.dumps(fields).encode())
    assert refusal.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_chat_request(body)


def test_content_may_come_in_parts_and_unknown_fields_are_ignored() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    fields = {"model": "demo", "messages": [{"role": "user", "content": parts}], "top_p": 0.5}
    assert parse_chat_request(json.dumps(fields).encode()).messages[0].text == "one two"


def test_tool_choice_none_takes_the_tools_away() -> None:
    fields = {"model": "demo", "messages": HELLO, "tools": TOOLS, "tool_choice": "none"}
    assert parse_chat_request(json.dumps(fields).encode()).tool_names == frozenset()


async def test_refusals_have_the_shape_of_openai_errors(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/chat/completions", json={"model": "demo", "messages": []})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", "messages")


async def test_a_body_over_the_limit_is_413(http: httpx.AsyncClient) -> None:
    refused = await http.post("/v1/chat/completions", content=b" " * (16 * 1024 * 1024 + 1))
    assert refused.status_code == 413
    assert "too large" in refused.json()["error"]["message"]
