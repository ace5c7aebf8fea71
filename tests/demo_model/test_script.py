"""The grammar of model names."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.demo_model.script import (
    HUMAN_PACE,
    MID_ANSWER,
    SCRIPTS,
    Fault,
    Part,
    Play,
    Script,
    UnknownScript,
    parse_script,
)


@pytest.mark.parametrize("part", SCRIPTS, ids=lambda part: part.form)
def test_every_listed_example_is_a_script_and_shows_its_part(part: Part) -> None:
    assert isinstance(parse_script(part.example), Script)
    assert re.split(r"[-\[]", part.form)[0] in re.split(r"[-+]", part.example)


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("demo", Script()),
        ("demo-scripted", Script()),
        ("demo-fast", Script(pace=0)),
        ("demo-pace-200", Script(pace=200)),
        ("demo-silent", Script(fault=Fault.SILENT, after=0)),
        ("demo-truncated", Script(fault=Fault.TRUNCATED, after=MID_ANSWER)),
        ("demo-broken-after-0", Script(fault=Fault.BROKEN, after=0)),
        ("demo+broken+after+7", Script(fault=Fault.BROKEN, after=7)),
        ("demo-after-7+broken", Script(fault=Fault.BROKEN, after=7)),
        ("demo-tokens-9", Script(play=Play.TOKENS, count=9, pace=HUMAN_PACE)),
        ("demo-tokens-9-0", Script(play=Play.TOKENS, count=9, pace=0)),
        ("demo-flaky-2-500", Script(fault=Fault.STATUS, status=500, flaky=2)),
        ("demo-flaky-1+badjson", Script(fault=Fault.BAD_JSON, after=MID_ANSWER, flaky=1)),
        ("demo-fast+words-20+length", Script(pace=0, play=Play.WORDS, count=20, finish="length")),
    ],
)
def test_a_name_asks_for_its_script(name: str, script: Script) -> None:
    assert parse_script(name) == script


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-5",
        "Demo",
        "demo-",
        "demo--fast",
        "demo-7",
        "demo-nonsense",
        "demo-story",
        "demo-fast-slow",
        "demo-fast-tokens-5-9",
        "demo-words",
        "demo-words-0",
        "demo-words-99999999",
        "demo-words-5-after-2",
        "demo-html-after-2",
        "demo-silent-broken",
        "demo-status",
        "demo-status-200",
        "demo-flaky-2",
        "demo-round-2",
        "demo-fast-1",
        "demo-pace-\u0661",
    ],
)
def test_any_other_name_is_unknown_and_the_error_says_why(name: str) -> None:
    with pytest.raises(UnknownScript) as refusal:
        parse_script(name)
    assert refusal.value.name == name
    assert refusal.value.reason


@given(st.text())
def test_no_name_breaks_the_parser(name: str) -> None:
    for asked in (name, f"demo-{name}"):
        with contextlib.suppress(UnknownScript):
            assert isinstance(parse_script(asked), Script)


@given(st.permutations(["fast", "echo", "length", "broken", "after-3", "round-2", "crlf"]))
def test_the_order_of_parts_does_not_matter(parts: list[str]) -> None:
    expected = parse_script("demo-fast-echo-length-broken-after-3-round-2-crlf")
    assert parse_script("+".join(["demo", *parts])) == expected
    assert parse_script("-".join(["demo", *parts])) == expected
