"""The events of a response are numbered by the log alone: from any number, exactly the rest."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from jobs.cursor import Cursor
from jobs.events import Ended, FileDelta, LoggedData, Notice, Reset, Status, Token
from jobs.generation import (
    Failure,
    FileChange,
    Generation,
    Output,
    SkillChoice,
    State,
    Usage,
)
from jobs.store.protocols import Begun
from relay.protocols.openai_responses.events import DONE, ResponseEvents
from relay.protocols.openai_responses.objects import PROTOCOL
from tests.jobs.log_rig import ended

ASKED = {
    "protocol": PROTOCOL,
    "background": True,
    "metadata": {"a": "b"},
    "previous_response_id": None,
}
NUMBER, MAYBE_TEXT, MAYBE_OBJECT = (int, float), (str, type(None)), (dict, type(None))
REQUIRED: dict[str, Any] = {
    "id": str, "object": str, "created_at": int, "completed_at": (int, type(None)), "status": str,
    "incomplete_details": MAYBE_OBJECT, "model": str, "previous_response_id": MAYBE_TEXT,
    "instructions": MAYBE_TEXT, "output": list, "error": MAYBE_OBJECT, "tools": list,
    "tool_choice": str, "truncation": str, "parallel_tool_calls": bool, "text": dict,
    "top_p": NUMBER, "presence_penalty": NUMBER, "frequency_penalty": NUMBER,
    "temperature": NUMBER, "top_logprobs": int, "reasoning": MAYBE_OBJECT, "usage": MAYBE_OBJECT,
    "max_output_tokens": (int, type(None)), "max_tool_calls": (int, type(None)), "store": bool,
    "background": bool, "service_tier": str, "metadata": dict, "safety_identifier": MAYBE_TEXT,
    "prompt_cache_key": MAYBE_TEXT,
}  # fmt: skip
"""What Open Responses wants of every response, and of what type."""
STRICT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ANY = Cursor(1, 1, 0)

RUNNING = Status(State.RUNNING, 1)
QUEUED = Status(State.QUEUED, 0)
WRITTEN = FileChange("a.md", "write", 3, "ab" * 32)
contents: st.SearchStrategy[list[LoggedData]] = st.lists(
    st.one_of(
        st.builds(Token, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)),
        st.sampled_from(
            [
                Token("a"),
                WRITTEN,
                FileChange("É.md", "delete", 0, ""),
                SkillChoice("negociation", "negotiation", 0.9),
                SkillChoice("cook", None, 0.1),
                Notice("code", "message"),
                FileDelta("a.md", 0, "one"),
            ]
        ),
    ),
    max_size=12,
)
ends = st.sampled_from([State.COMPLETED, State.FAILED, State.CANCELLED])


def generation(state: State, *, attempt: int = 1, reason: str | None = "stop") -> Generation:
    """It at its end, as a terminal event carries it."""
    output = Output(3, reason, None, (), ())
    error = Failure("model_error", "it broke", False) if state is State.FAILED else None
    one = ended(text="abc").without_text()
    return msgspec.structs.replace(
        one, state=state, attempt=attempt, output=output, error=error, usage=Usage(3, 4)
    )


def told(data: Sequence[LoggedData], after: int = -1) -> list[bytes]:
    """The events that a reader is told of this log."""
    events = ResponseEvents(Begun(generation(State.QUEUED), ASKED), after)
    return split(b"".join(events.tell(ANY, one) for one in data))


def split(chunk: bytes) -> list[bytes]:
    return [one + b"\n\n" for one in chunk.split(b"\n\n")[:-1]]


def numbers(events: Sequence[bytes]) -> list[int]:
    """The sequence numbers of all but [DONE]."""
    return [data_of(one)["sequence_number"] for one in events if one != DONE]


def data_of(event: bytes) -> dict[str, Any]:
    """The document of an event, whose name must be its type."""
    name, data = event.removesuffix(b"\n\n").split(b"\n")
    document: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: " + document["type"].encode()
    return document


@settings(deadline=None)
@given(content=contents, end=ends, queued=st.booleans())
def test_after_any_number_comes_exactly_the_rest(
    content: list[LoggedData], end: State, queued: bool
) -> None:
    log = [*([QUEUED] if queued else []), RUNNING, *content, Ended(generation(end))]
    whole = told(log)
    assert numbers(whole) == list(range(len(whole) - 1))
    assert whole[-1] == DONE
    for cut in range(-1, len(whole) - 1):
        assert told(log, after=cut) == whole[cut + 1 :]
    assert told([RUNNING, *content, Ended(generation(end))]) == whole


@settings(deadline=None)
@given(content=contents, cut=st.integers(0, 12))
def test_a_lost_worker_is_told_alike_to_who_was_there_and_to_who_comes_back(
    content: list[LoggedData], cut: int
) -> None:
    shown = [one for one in content if not isinstance(one, FileDelta)]
    begins: list[LoggedData] = [Reset("worker_lost", 2), Status(State.RUNNING, 2)]
    last: list[LoggedData] = [*begins, *shown, Ended(generation(State.FAILED, attempt=2))]
    there = told([QUEUED, RUNNING, *content, *last])
    assert there == told(last)
    assert data_of(there[-2])["type"] == "response.failed"
    seen = told([RUNNING, *content[:cut]])
    assert told(last, after=len(seen) - 1) == there[len(seen) :]


@settings(deadline=None)
@given(content=contents, left=st.integers(0, 11))
def test_a_worker_lost_with_its_log_is_an_explicit_failure_wherever_a_reader_was(
    content: list[LoggedData], left: int
) -> None:
    shown = [one for one in content if not isinstance(one, FileDelta)][:left]
    last = [
        Reset("worker_lost", 2), Status(State.RUNNING, 2), *shown,
        Ended(generation(State.FAILED, attempt=2)),
    ]  # fmt: skip
    whole = told([RUNNING, *content])
    for seen in (*range(len(whole)), 10**6):
        rest = told(last, after=seen - 1)
        assert data_of(rest[-2])["type"] == "response.failed"
        assert numbers(rest) == sorted(set(numbers(rest)))
        assert min(numbers(rest)) >= seen
    there = told([RUNNING, *content, *last])
    assert there[: len(whole)] == whole
    assert numbers(there) == sorted(set(numbers(there)))
    assert data_of(there[-2])["type"] == "response.failed"


@settings(deadline=None, max_examples=50)
@given(content=contents, end=ends, reason=st.sampled_from(["stop", "length", "content_filter"]))
def test_every_event_is_one_that_the_sdk_validates(
    content: list[LoggedData], end: State, reason: str
) -> None:
    whole = told([QUEUED, RUNNING, *content, Ended(generation(end, reason=reason))])
    events = [STRICT.validate_python(data_of(one)) for one in whole[:-1]]
    # The SDK builds what is unknown or out of place as its first likely class.
    assert [one.type for one in events] == [data_of(one)["type"] for one in whole[:-1]]
    final = events[-1].response
    text = "".join(one.text for one in content if isinstance(one, Token))
    assert final.output_text == text
    assert [item.type for item in final.output].count("function_call") == sum(
        isinstance(one, FileChange | SkillChoice) for one in content
    )
    assert [event.item for event in events if event.type == "response.output_item.done"] == (
        final.output
    )


@pytest.mark.parametrize(
    ("end", "status", "last", "details"),
    [
        (generation(State.COMPLETED), "completed", "response.completed", None),
        (
            generation(State.COMPLETED, reason="length"),
            "incomplete", "response.incomplete", {"reason": "max_output_tokens"},
        ),
        (
            generation(State.COMPLETED, reason="content_filter"),
            "incomplete", "response.incomplete", {"reason": "content_filter"},
        ),
        (generation(State.CANCELLED), "cancelled", "response.incomplete", None),
        (generation(State.FAILED), "failed", "response.failed", None),
        (generation(State.EXPIRED), "failed", "response.failed", None),
    ],
)  # fmt: skip
def test_each_end_has_its_status_and_its_last_event(
    end: Generation, status: str, last: str, details: dict[str, str] | None
) -> None:
    event = data_of(told([QUEUED, RUNNING, Token("abc"), Ended(end)])[-2])
    response = event["response"]
    assert (event["type"], response["status"]) == (last, status)
    assert response["incomplete_details"] == details
    assert (response["completed_at"] is not None) == (status == "completed")
    assert (response["error"] is not None) == (status == "failed")
    assert response["output"][0]["status"] == (
        "completed" if status == "completed" else "incomplete"
    )
    assert response["usage"]["total_tokens"] == 7


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_every_response_has_what_open_responses_requires(state: State) -> None:
    whole = [data_of(one) for one in told([QUEUED, RUNNING, Ended(generation(state))])[:-1]]
    responses = [one["response"] for one in whole]
    assert len(responses) == 4
    for response in responses:
        wrong = [
            name for name, kind in REQUIRED.items() if not isinstance(response.get(name, ...), kind)
        ]
        assert wrong == []


def test_beyond_the_last_event_of_a_response_there_is_still_its_end() -> None:
    log: list[LoggedData] = [RUNNING, Token("abc"), Ended(generation(State.COMPLETED))]
    last = len(told(log)) - 2
    assert told(log, after=last) == [DONE]
    end, done = told(log, after=last + 7)
    assert (data_of(end)["type"], data_of(end)["sequence_number"]) == (
        "response.completed", last + 8,
    )  # fmt: skip
    assert done == DONE


def test_the_first_event_of_a_replay_is_the_one_that_was_told_live() -> None:
    first = data_of(told([RUNNING, Ended(generation(State.COMPLETED))])[0])
    response = Response.model_validate(first["response"], strict=True)
    assert (response.status, response.output, response.usage) == ("queued", [], None)
    assert response.metadata == {"a": "b"}
    assert response.background


def test_a_file_stands_between_the_texts_around_it() -> None:
    between: list[LoggedData] = [Token("before"), WRITTEN, Token("after")]
    log = [RUNNING, *between, Ended(generation(State.COMPLETED))]
    events = [data_of(one) for one in told(log)[:-1]]
    output = events[-1]["response"]["output"]
    [added] = [
        one["item"] for one in events
        if one["type"] == "response.output_item.added" and one["output_index"] == 1
    ]  # fmt: skip
    assert added == {**output[1], "status": "in_progress", "arguments": ""}
    assert [item["type"] for item in output] == ["message", "function_call", "message"]
    assert output[1]["name"] == "write_file"
    assert json.loads(output[1]["arguments"]) == {"path": "a.md", "bytes": 3, "sha256": "ab" * 32}
    assert len({item["id"] for item in output}) == 3
