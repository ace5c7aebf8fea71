"""The bounds of a conversation with the model, and what goes back to it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.converse import Answer
from jobs.generation import State, Usage
from persona_apply import MAX_CALLS, MAX_FILES
from tests.jobs.at_work import Work, at_work


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work with one worker."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        await work.hire()
        yield work


async def test_calls_beyond_those_of_a_round_are_left_out_and_said(work: Work) -> None:
    calls = [
        ("write_file", {"path": f"notes/{number}.md", "content": "x"})
        for number in range(MAX_CALLS + 6)
    ]
    asked = await work.dictate(("Much.", *calls), "Done.")
    ended = await work.ended(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert len(ended.output.files) == MAX_FILES == MAX_CALLS
    notices = [event.data["code"] for event in await work.told(asked) if event.name == "notice"]
    assert notices == ["too_many_calls"]
    messages = (await work.requests())[-1]["messages"]
    answers = [json.loads(one["content"]) for one in messages if one["role"] == "tool"]
    assert len(answers) == MAX_CALLS
    assert [one.get("left_out") for one in answers] == [None] * (MAX_CALLS - 1) + [
        f"calls beyond {MAX_CALLS} in a round were left out: repeat them"
    ]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"path": "a.md", "content": "É 🎉"}', {"path": "a.md", "content": "É 🎉"}),
        ('{"path": "a.md", "content": "one\ntwo"}', {"path": "a.md", "content": "one\ntwo"}),
        ('{"path": "a.md", "content": "\\ud83c"}', {"path": "a.md", "content": "\ufffd"}),
        ('{"path": "a.md"', {}),
        ('["a.md"]', {}),
        ("[" * 5000, {}),
    ],
)
async def test_arguments_go_back_to_the_model_as_json_that_every_endpoint_can_parse(
    work: Work, arguments: str, sent: dict[str, str]
) -> None:
    asked = await work.dictate(("Well.", ("write_file", arguments)), "Done.")
    await work.ended(asked)
    [call] = (await work.requests())[-1]["messages"][-2]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == sent


async def test_a_name_that_no_function_can_have_goes_back_as_one(work: Work) -> None:
    names = ("rm -rf /", "", "é" * 100)
    asked = await work.dictate(("Well.", *((name, {}) for name in names)), "Done.")
    await work.ended(asked)
    calls = (await work.requests())[-1]["messages"][-1 - len(names)]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["rm_-rf__", "_", "_" * 64]


def test_usage_is_summed_and_stays_within_what_can_be_stored() -> None:
    answer = Answer(draft=None)
    answer.add_usage(None)
    assert answer.usage is None
    answer.add_usage(Usage(1, 2))
    answer.add_usage(None)
    answer.add_usage(Usage(10, 20))
    assert answer.usage == Usage(11, 22)
    answer.add_usage(Usage(10**30, 2**31))
    assert answer.usage == Usage(2**31 - 1, 2**31 - 1)
