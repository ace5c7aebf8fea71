"""What kind of turn a request is, and about what."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.demo_model.chat_request import parse_chat_request
from relay.demo_model.conversation import (
    UNNAMED,
    Conversation,
    Kind,
    ToolResult,
    read_conversation,
)
from tests.demo_model.asking import BRIEF, CHANGE, HELLO, MAKE, NAME, TOOLS, Json


def read(messages: Sequence[Json], tools: Sequence[Json] = TOOLS) -> Conversation:
    body = {"model": "demo", "messages": list(messages), "tools": list(tools)}
    return read_conversation(parse_chat_request(json.dumps(body).encode()))


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def test_without_tools_it_is_a_chat() -> None:
    assert read(MAKE, tools=[]).kind is Kind.CHAT


def test_a_name_and_a_brief_are_a_generate_wherever_they_come() -> None:
    for messages in (MAKE, [*HELLO, {"role": "assistant", "content": "Hi."}, *MAKE]):
        made = read(messages)
        assert (made.kind, made.name, made.brief) == (Kind.GENERATE, NAME, BRIEF)


def test_earlier_turns_make_it_a_refine_of_the_persona_in_the_system_message() -> None:
    changed = read(CHANGE)
    assert (changed.kind, changed.name, changed.brief) == (Kind.REFINE, NAME, BRIEF)
    assert changed.request == "Add a joke to her voice."
    assert dict(changed.files) == {
        "persona.md": "# Ada\n\nOne.\n\nTwo.\n\nThree.",
        "voice.md": "# Voice\n\nWarm.",
    }


@pytest.mark.parametrize(
    "system",
    [
        "Files:\n\n### a/voice.md\n```md\n# V\n\nWarm.\n```\n### persona.md (12 bytes)\nAda",
        "=== a/voice.md ===\n# V\n\nWarm.\n\n=== persona.md ===\nAda\n",
        '<file path="a/voice.md">\n# V\n\nWarm.\n</file><file path="persona.md">Ada</file>',
    ],
)
def test_files_are_read_in_the_usual_ways_of_showing_them(system: str) -> None:
    shown = read([{"role": "system", "content": system}, user("Hm?")])
    assert shown.kind is Kind.REFINE
    assert dict(shown.files) == {"a/voice.md": "# V\n\nWarm.", "persona.md": "Ada"}


def test_a_brief_may_have_several_lines_and_ends_at_the_next_label() -> None:
    read_brief = read([user("Brief: one\n\ntwo: three\nName: Bo\nInstructions: go")])
    assert (read_brief.brief, read_brief.name) == ("one\n\ntwo: three", "Bo")


def test_without_labels_the_whole_text_is_the_brief() -> None:
    assert read([user("A pirate called Grace who teaches knots")]).name == "Grace"
    unlabelled = read([user("a quiet gardener")])
    assert (unlabelled.brief, unlabelled.name) == ("a quiet gardener", UNNAMED)


def test_rounds_count_the_calls_since_the_last_user_message() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "write_file", "arguments": "{}"}}
    round_of_calls: list[Json] = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": '{"error": "no such path"}'},
    ]
    second = read([*MAKE, *round_of_calls])
    assert second.round == 2
    assert [(result.name, result.refused) for result in second.results] == [("write_file", True)]
    assert read([*MAKE, *round_of_calls, *round_of_calls]).round == 3
    done: Json = {"role": "assistant", "content": "Done."}
    assert read([*MAKE, *round_of_calls, done, user("More")]).round == 1


@pytest.mark.parametrize(
    ("answer", "refused", "reason"),
    [
        ('{"ok": true, "written": "invalid.md"}', False, '{"ok": true, "written": "invalid.md"}'),
        ('{"ok": false, "code": "x", "message": "No such path."}', True, "No such path."),
        ("Error: too large", True, "Error: too large"),
        ("written", False, "written"),
        ("[1]", False, "[1]"),
    ],
)
def test_a_result_is_a_refusal_by_its_ok_or_by_its_words(
    answer: str, refused: bool, reason: str
) -> None:
    result = ToolResult("write_file", "{}", answer)
    assert (result.refused, result.reason) == (refused, reason)


@given(st.text(max_size=300), st.text(max_size=300), st.booleans())
def test_any_text_is_understood_somehow(system: str, said: str, labelled: bool) -> None:
    text = f"Name: {said}\nBrief: {system}" if labelled else said
    messages = [{"role": "system", "content": system}, user(text)]
    understood = read(messages)
    assert understood.name
    assert understood == read(messages)
