"""Generations say when they are over, show times as the protocol has them, and drop their text."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.generation import State, encode, events_url, rfc3339
from tests.jobs.log_rig import ended


@pytest.mark.parametrize("state", State)
def test_a_state_is_terminal_when_nothing_can_follow(state: State) -> None:
    assert state.terminal is (state not in (State.QUEUED, State.RUNNING))


@settings(deadline=None)
@given(st.integers(0, 4_102_444_800_000))
def test_times_are_exact_to_the_millisecond(milliseconds: int) -> None:
    shown = rfc3339(milliseconds)
    assert shown.endswith("Z")
    assert len(shown) == len("2026-01-01T00:00:00.000Z")
    past = datetime.fromisoformat(shown) - datetime(1970, 1, 1, tzinfo=UTC)
    assert past == timedelta(milliseconds=milliseconds)


def test_the_resource_shows_every_field_of_the_protocol() -> None:
    shown = json.loads(encode(ended(text="hello")))
    assert list(shown) == [
        "id", "kind", "state", "attempt", "model", "conversation_id", "persona_id", "input",
        "output", "usage", "error", "created_at", "started_at", "finished_at", "expires_at",
        "events_url",
    ]  # fmt: skip
    assert shown["output"]["text"] == "hello"
    assert shown["events_url"] == events_url(shown["id"])


def test_without_text_leaves_the_rest_as_it_is() -> None:
    whole = ended(text="hello")
    shown, bare = json.loads(encode(whole)), json.loads(encode(whole.without_text()))
    del shown["output"]["text"]
    assert bare == shown


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_one_line_by_any_rule(text: str) -> None:
    document = encode({"a": [text]})
    assert json.loads(document) == {"a": [text]}
    assert len(document.decode().splitlines()) == 1
