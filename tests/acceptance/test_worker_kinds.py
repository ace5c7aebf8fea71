"""The three kinds, from enqueue to commit, by a real worker with the scripted model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.generation import Kind, State
from jobs.store.personas import read_file, read_persona
from relay.demo_model.tokens import count, cut
from tests.jobs.at_work import OWNER, Event, Work, at_work, names_of, text_of

WRITE = "write_file"
DELETE = "delete_file"
USE = "use_skill"


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work with one worker."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        await work.hire()
        yield work


@pytest.fixture
async def anywhere(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """The same over each of the databases."""
    async with at_work(redis_url, database_url, tmp_path) as work:
        await work.hire()
        yield work


async def test_a_chat_is_answered_and_its_turn_is_what_was_streamed(anywhere: Work) -> None:
    asked = await anywhere.ask("ChidÉ 🎉 says hello", model="demo-fast-echo")
    ended = await anywhere.ended(asked)
    events = await anywhere.told(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.text == "ChidÉ 🎉 says hello" == text_of(events)
    assert ended.output.finish_reason == "stop"
    assert ended.output.persona_version is None
    assert ended.usage is not None
    assert ended.usage.output_tokens == len("ChidÉ 🎉 says hello")
    assert names_of(events) == ["status", "token", "completed"]
    assert await anywhere.turns(asked) == [
        ("user", "ChidÉ 🎉 says hello", False),
        ("assistant", "ChidÉ 🎉 says hello", False),
    ]


async def test_a_generate_makes_files_skills_and_derived_content(anywhere: Work) -> None:
    asked = await anywhere.ask(
        "A patient maths tutor for pupils.", Kind.GENERATE, model="demo-fast"
    )
    ended = await anywhere.ended(asked)
    events = await anywhere.told(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.persona_version == 1
    assert asked.persona_id is not None
    persona = await read_persona(anywhere.db, OWNER, asked.persona_id)
    assert persona.version == 1
    assert "persona.md" in {file.path for file in persona.files}
    assert persona.skills
    assert {choice.matched for choice in ended.output.skills} == set(persona.skills)
    assert persona.derived
    assert {(one.path, one.sha256) for one in ended.output.files} == {
        (one.path, one.sha256) for one in persona.files
    }
    told = [event.data for event in events if event.name == "file"]
    assert {one["path"]: one["sha256"] for one in told} == {
        one.path: one.sha256 for one in persona.files
    }
    for file in persona.files:
        content = (await read_file(anywhere.db, OWNER, asked.persona_id, file.path)).content
        assert previewed(events, file.path) == content


def previewed(events: list[Event], path: str) -> str:
    """What the previews of this file give together."""
    content = ""
    for event in events:
        if event.name == "file_delta" and event.data["path"] == path:
            assert event.data["at"] in (0, len(content))
            content = content[: event.data["at"]] + event.data["text"]
    return content


async def test_two_rounds_are_one_text_joined_by_a_published_blank_line(work: Work) -> None:
    call = (WRITE, {"path": "persona.md", "content": "Ada"})
    asked = await work.dictate(("One.", call), "Two.")
    ended = await work.ended(asked)
    events = await work.told(asked)
    assert ended.output is not None
    assert ended.output.text == "One.\n\nTwo." == text_of(events)
    assert names_of(events) == ["status", "token", "file_delta", "file", "token", "completed"]
    assert text_of(events[events_at(events, "file") :]).startswith("\n\n")
    last = events[-1].cursor
    assert (last.attempt, last.offset) == (1, len("One.\n\nTwo."))
    assert [event.cursor.seq for event in events] == list(range(1, last.seq + 1))
    source = await work.rebuilt(asked)
    assert text_of(source) == ended.output.text


def events_at(events: list[Event], name: str) -> int:
    """Where the first event of this name is."""
    return next(n for n, event in enumerate(events) if event.name == name)


async def test_usage_is_the_sum_of_the_rounds(work: Work) -> None:
    arguments = {"path": "persona.md", "content": "Ada is patient."}
    asked = await work.dictate(("One two.", (WRITE, arguments)), "Three four five.")
    ended = await work.ended(asked)
    sent = await work.requests()
    spoken = ["One two.", json.dumps(arguments), "Three four five."]
    assert len(sent) == 2
    assert ended.usage is not None
    assert ended.usage.output_tokens == sum(len(cut(text)) for text in spoken)
    assert ended.usage.input_tokens == sum(
        count(message["content"] or "") for body in sent for message in body["messages"]
    )


async def test_a_refine_changes_files_and_skills_as_the_next_version(anywhere: Work) -> None:
    made = await anywhere.dictate(
        ("", (WRITE, {"path": "persona.md", "content": "Ada"}),
         (WRITE, {"path": "old.md", "content": "gone soon"})),
    )  # fmt: skip
    await anywhere.ended(made)
    asked = await anywhere.dictate(
        (
            "I'll do it.",
            (WRITE, {"path": "persona.md", "content": "Ada, kinder"}),
            (DELETE, {"path": "old.md"}),
            (USE, {"name": "Negotiation"}),
            (USE, {"name": "quantum plumbing of the ninth kind"}),
        ),
        "Done.",
        kind=Kind.REFINE,
        persona_id=made.persona_id,
    )
    ended = await anywhere.ended(asked)
    events = await anywhere.told(asked)
    assert ended.output is not None
    assert ended.output.persona_version == 2
    assert [(one.path, one.op) for one in ended.output.files] == [
        ("old.md", "delete"),
        ("persona.md", "write"),
    ]
    assert [choice.matched for choice in ended.output.skills] == ["negotiation", None]
    assert made.persona_id is not None
    persona = await read_persona(anywhere.db, OWNER, made.persona_id)
    assert [file.path for file in persona.files] == ["persona.md"]
    assert persona.skills == ("negotiation",)
    skills = [event.data for event in events if event.name == "skill"]
    assert [one["matched"] for one in skills] == ["negotiation", None]
    assert ended.conversation_id == made.conversation_id


async def test_a_refine_in_text_only_changes_no_version(work: Work) -> None:
    made = await work.dictate(("", (WRITE, {"path": "persona.md", "content": "Ada"})))
    await work.ended(made)
    asked = await work.ask(
        "What do you think of her?", Kind.REFINE,
        persona_id=made.persona_id, model="demo-fast-text",
    )  # fmt: skip
    ended = await work.ended(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.text
    assert ended.output.persona_version is None
    assert (ended.output.files, ended.output.skills) == ((), ())
    assert made.persona_id is not None
    assert (await read_persona(work.db, OWNER, made.persona_id)).version == 1


async def test_the_model_is_shown_the_conversation_and_the_personas_files(work: Work) -> None:
    made = await work.dictate(("Made.", (WRITE, {"path": "voice.md", "content": "Warm 🎉 É"})))
    await work.ended(made)
    asked = await work.ask(
        "And now?", Kind.REFINE, persona_id=made.persona_id, model="demo-fast-text"
    )
    await work.ended(asked)
    messages = (await work.requests())[-1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert '<file path="voice.md">\nWarm 🎉 É\n</file>' in messages[0]["content"]
    assert messages[1]["content"] == made.input
    assert messages[2]["content"] == "Made."
    assert messages[3]["content"] == "And now?"


async def test_the_answers_to_its_calls_go_back_to_the_model(work: Work) -> None:
    asked = await work.dictate(
        (
            "",
            (WRITE, {"path": "persona.md", "content": "Ada"}),
            (WRITE, '{"path": "broken.md", "content": "never clo'),
            ("run a shell!", {"command": "true"}),
        ),
        "Well.",
    )
    await work.ended(asked)
    messages = (await work.requests())[-1]["messages"]
    assert [message["role"] for message in messages[-4:]] == ["assistant", "tool", "tool", "tool"]
    sent = [call["function"] for call in messages[-4]["tool_calls"]]
    # Whatever the model wrote, the conversation stays one that every endpoint takes.
    assert [one["name"] for one in sent] == ["write_file", "write_file", "run_a_shell_"]
    assert [json.loads(one["arguments"]) for one in sent] == [
        {"path": "persona.md", "content": "Ada"},
        {},
        {"command": "true"},
    ]
    answers = [json.loads(message["content"]) for message in messages[-3:]]
    assert [one["ok"] for one in answers] == [True, False, False]
    assert [one.get("code") for one in answers] == [None, "invalid_json", "unknown_tool"]


async def test_a_chat_is_shown_only_as_much_history_as_is_allowed(work: Work) -> None:
    first = await work.ask("a" * 30, model="demo-fast-echo")
    await work.ended(first)
    for letter in "bc":
        asked = await work.ask(
            letter * 20_000, model="demo-fast-echo", conversation_id=first.conversation_id
        )
        await work.ended(asked)
    last = await work.ask("d", model="demo-fast-echo", conversation_id=first.conversation_id)
    await work.ended(last)
    messages = (await work.requests())[-1]["messages"]
    # 60,000 characters hold one pair of 40,000; the older ones are not shown.
    assert [message["content"][:1] for message in messages[1:]] == ["c", "c", "d"]
    assert "tools" not in (await work.requests())[-1]


async def test_a_partial_answer_is_part_of_the_history(work: Work) -> None:
    first = await work.ask("Hello", model="demo-fast-tokens-9-truncated-after-3")
    assert (await work.ended(first)).state is State.FAILED
    last = await work.ask("Go on", conversation_id=first.conversation_id)
    await work.ended(last)
    messages = (await work.requests())[-1]["messages"]
    assert [message["content"] for message in messages[1:]] == ["Hello", "t1 t2 t3", "Go on"]


@pytest.mark.parametrize(("word", "reason"), [("length", "length"), ("filter", "content_filter")])
async def test_an_answer_that_the_model_cut_is_completed_and_says_so(
    work: Work, word: str, reason: str
) -> None:
    ended = await work.ended(await work.ask("Hello", model=f"demo-fast-{word}"))
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.finish_reason == reason
    assert ended.output.text


async def test_a_model_without_end_is_stopped_after_its_rounds(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path, relay_model_rounds=3) as work:
        await work.hire()
        asked = await work.ask("A tutor.", Kind.GENERATE, model="demo-fast-neverends")
        ended = await work.ended(asked)
        events = await work.told(asked)
        assert len(await work.requests()) == 3
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert [one.path for one in ended.output.files] == [
        f"notes/round-{number}.md" for number in (1, 2, 3)
    ]
    assert ended.output.finish_reason is None
    notices = [event.data["code"] for event in events if event.name == "notice"]
    assert notices == ["rounds_exhausted"]


async def test_invalid_output_of_the_model_never_reaches_a_persona(work: Work) -> None:
    asked = await work.ask("A tutor.", Kind.GENERATE, model="demo-fast-invalidfiles")
    ended = await work.ended(asked)
    events = await work.told(asked)
    assert ended.state is State.COMPLETED
    assert asked.persona_id is not None
    persona = await read_persona(work.db, OWNER, asked.persona_id)
    assert [file.path for file in persona.files] == ["escape.md", "persona.md"]
    notices = [event.data["code"] for event in events if event.name == "notice"]
    assert notices == [
        "path_traversal", "path_absolute", "path_control", "files_too_large",
        "invalid_json", "unknown_tool", "path_bidi",
    ]  # fmt: skip
    assert {event.data["path"] for event in events if event.name == "file"} == {
        "escape.md",
        "persona.md",
    }
    stored = await work.sql("SELECT path FROM persona_files ORDER BY path")
    assert [row[0] for row in stored] == ["escape.md", "persona.md"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_the_turn_is_the_concatenated_tokens_wherever_the_bytes_are_cut(
    work: Work, size: int
) -> None:
    asked = await work.ask("ChidÉ 🎉", model=f"demo-fast-unicode-bytes-{size}")
    ended = await work.ended(asked)
    events = await work.told(asked)
    assert ended.output is not None
    assert ended.output.text == text_of(events) == "ChidÉ 🎉 lone:\ufffd nul:\ufffd — fin"
    assert ended.output.characters == events[-1].cursor.offset == len(text_of(events))
    offset = 0
    for event in events:
        if event.name == "token":
            offset += len(event.data["text"])
        assert event.cursor.offset == offset


async def test_a_file_with_broken_surrogates_is_stored_clean(anywhere: Work) -> None:
    asked = await anywhere.ask("A tutor.", Kind.GENERATE, model="demo-fast-unicode")
    ended = await anywhere.ended(asked)
    assert ended.output is not None
    assert asked.persona_id is not None
    content = (await read_file(anywhere.db, OWNER, asked.persona_id, "unicode.md")).content
    assert content == "ChidÉ 🎉 lone:\ufffd nul:\ufffd — fin"
    assert previewed(await anywhere.told(asked), "unicode.md") == content


async def test_a_chat_that_calls_tools_is_told_that_there_are_none(work: Work) -> None:
    call = (WRITE, {"path": "persona.md", "content": "Ada"})
    asked = await work.dictate(("Hm.", call), "All right.", kind=Kind.CHAT)
    ended = await work.ended(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.text == "Hm.\n\nAll right."
    assert ended.output.files == ()
    notices = [event.data["code"] for event in await work.told(asked) if event.name == "notice"]
    assert notices == ["unknown_tool"]
