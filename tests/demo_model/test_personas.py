"""Stories: personas made from a brief, changed on request, and chat."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.demo_model import tokens
from relay.demo_model.answers import Answer, Arguments, CallStart, Text, answer
from relay.demo_model.chat_request import parse_chat_request
from relay.demo_model.conversation import read_conversation
from relay.demo_model.personas import persona_files
from relay.demo_model.refinements import asks_for_a_change, edit
from relay.demo_model.script import Script, parse_script
from relay.demo_model.themes import skills_for
from tests.demo_model.asking import BRIEF, CHANGE, HELLO, MAKE, NAME, TOOLS, Json, Said, answered

A = "# A\n\nOne.\n\nTwo.\n"


def play(
    messages: Sequence[Json], tools: Sequence[Json] = TOOLS, script: Script | None = None
) -> Said:
    """The whole answer, without a server."""
    body = {"model": "demo", "messages": list(messages), "tools": list(tools)}
    conversation = read_conversation(parse_chat_request(json.dumps(body).encode()))
    return said(answer(script or Script(), conversation))


def said(answer: Answer) -> Said:
    heard = Said(finish=answer.finish)
    for delta in answer.deltas:
        match delta:
            case Text(text):
                heard.text += text
                heard.tokens.append(text)
            case CallStart(index, id, name):
                assert index == len(heard.calls)
                heard.calls.append({"id": id, "name": name, "arguments": ""})
            case Arguments(index, text):
                heard.calls[index]["arguments"] += text
    return heard


def test_a_generate_writes_files_that_use_the_name_and_the_brief() -> None:
    made = play(MAKE)
    assert made.finish == "tool_calls"
    assert NAME in made.text
    assert "scripted demo model" in made.text
    files = made.files()
    assert 3 <= len(files) <= 5
    assert {"persona.md", "voice.md", "boundaries.md"} <= files.keys()
    assert BRIEF in files["persona.md"]
    assert all(NAME in content for content in files.values())


def test_a_generate_chooses_skills_by_the_words_of_the_brief() -> None:
    assert play(MAKE).skills() == [
        "socratic questioning",
        "step-by-step explanation",
        "code review",
    ]


def test_calls_have_ids_of_their_own_in_every_round() -> None:
    first = play(MAKE)
    script = parse_script("demo-neverends")
    second = play(answered(MAKE, first), script=script)
    ids = [call["id"] for call in first.calls + second.calls]
    assert len(ids) == len(set(ids))


def test_after_the_results_comes_a_closing_sentence() -> None:
    closing = play(answered(MAKE, play(MAKE)))
    assert (closing.finish, closing.calls) == ("stop", [])
    assert "`persona.md`" in closing.text


def test_after_a_refusal_the_closing_sentence_quotes_its_reason() -> None:
    refusal = '{"error": "the path is absolute"}'
    assert "the path is absolute" in play(answered(MAKE, play(MAKE), refusal)).text


def test_a_refine_that_asks_for_a_change_writes_one_file_with_the_request_in_it() -> None:
    changed = play(CHANGE)
    assert changed.finish == "tool_calls"
    assert changed.text
    assert changed.files() == {
        "voice.md": "# Voice\n\nWarm.\n\n## Changed on request\n\n- Add a joke to her voice.\n"
    }


def test_a_refine_that_asks_a_question_is_answered_in_text_only() -> None:
    asked = play([*CHANGE[:-1], {"role": "user", "content": "Whom should she never meet?"}])
    assert (asked.finish, asked.calls) == ("stop", [])
    assert "Whom should she never meet?" in asked.text


@pytest.mark.parametrize(
    ("request_text", "writes", "deletes"),
    [
        ("Please shorten persona.md", {"persona.md": "# A\n\nOne.\n"}, ()),
        ("rename voice.md to sound.md.", {"sound.md": "# V\n"}, ("voice.md",)),
        ("Delete the voice file", {}, ("voice.md",)),
        ("Make it formal", {"voice.md": "# V\n\n## Changed on request\n\n- Make it formal\n"}, ()),
        (
            "Mend opening.json, add tea",
            {"persona.md": f"{A}\n## Changed on request\n\n- Mend opening.json, add tea\n"},
            (),
        ),
    ],
)
def test_an_edit_does_what_was_asked(
    request_text: str, writes: dict[str, str], deletes: tuple[str, ...]
) -> None:
    files = {"persona.md": A, "voice.md": "# V\n", "opening.json": "{}"}
    change = edit(request_text, "A", "", files, 0)
    assert (dict(change.writes), change.deletes) == (writes, deletes)


def test_a_second_request_is_added_below_the_first() -> None:
    files = {"persona.md": "# A\n"}
    for request in ("add one", "add two"):
        files = dict(edit(request, "A", "", files, 0).writes)
    assert files["persona.md"].endswith("## Changed on request\n\n- add one\n- add two\n")


@pytest.mark.parametrize(
    ("request_text", "wanted"),
    [
        ("Make her warmer", True),
        ("Can you add an example?", True),
        ("What should I use?", False),
        ("Thanks, lovely", False),
    ],
)
def test_requests_and_questions_are_told_apart(request_text: str, wanted: bool) -> None:
    assert asks_for_a_change(request_text) is wanted


def test_a_chat_repeats_what_was_said_and_admits_that_it_is_scripted() -> None:
    chat = play(HELLO, tools=[])
    assert (chat.finish, chat.calls) == ("stop", [])
    assert "Tell me about rivers" in chat.text
    assert "scripted demo model" in chat.text
    assert 60 <= len(chat.text.split()) <= 120


def test_the_pace_changes_no_word_and_other_words_change_the_answer() -> None:
    assert play(MAKE, script=parse_script("demo-slow")) == play(MAKE)
    chats = {play([{"role": "user", "content": str(n)}], tools=[]).text[60:] for n in range(30)}
    assert len(chats) > 3


@given(st.text(), st.text(max_size=2000), st.integers(min_value=0, max_value=2**32 - 1))
def test_any_brief_gives_three_to_five_files_and_two_or_three_skills(
    name: str, brief: str, seed: int
) -> None:
    files = persona_files(name, brief, seed)
    assert 3 <= len(files) <= 5
    assert files == persona_files(name, brief, seed)
    assert sum(len(content) for content in files.values()) < 20_000 + 60 * len(name)
    assert len(set(skills_for(brief))) in (2, 3)


@given(st.text())
def test_the_tokens_of_a_text_are_the_text(text: str) -> None:
    assert "".join(tokens.cut(text)) == text


def test_the_tokens_of_plain_words_are_the_words() -> None:
    assert tokens.cut("one two\n\nthree. ") == ["one", " two", "\n\nthree.", " "]
    assert len(tokens.cut("x" * 50_000)) == 13
