"""Streamed fragments become the calls that the model made, and previews the files that it wrote."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_CALLS,
    MAX_TOTAL_BYTES,
    Catalogue,
    Draft,
    FilePreview,
    FileWritten,
    Persona,
    Refused,
    ToolCall,
    ToolCallAssembler,
)
from tests.persona_apply.cuts import as_units, cut, json_object, wild_text

Fragment = tuple[int | None, str | None, str | None, str | None]

EMPTY = Draft.of(Persona("", "", {}, ()), Catalogue.default())


def assemble(fragments: list[Fragment]) -> tuple[list[ToolCall], list[FilePreview]]:
    assembler = ToolCallAssembler()
    previews = [preview for fragment in fragments for preview in assembler.feed(*fragment)]
    return assembler.finish(), previews


def previewed(arguments: list[str], name: str = "write_file") -> list[FilePreview]:
    rest: list[Fragment] = [(0, None, None, piece) for piece in arguments]
    return assemble([(0, "a", name, ""), *rest])[1]


@settings(deadline=None)
@given(st.data(), wild_text, st.booleans())
def test_the_previews_of_a_file_are_together_its_accepted_content(
    data: st.DataObject, content: str, units: bool
) -> None:
    text = data.draw(json_object({"path": "notes/ü.md", "content": content}))
    # A server that cuts its own JSON between two escapes leaves halves of raw pairs, too.
    pieces = data.draw(cut(as_units(text) if units else text))
    rest: list[Fragment] = [(0, None, None, piece) for piece in pieces]
    calls, previews = assemble([(0, "a", "write_file", None), *rest])
    draft, outcome = EMPTY.take(calls[0])
    assert isinstance(outcome, FileWritten)
    assert "".join(preview.text for preview in previews) == draft.persona.files["notes/ü.md"]
    given = 0
    for preview in previews:
        assert preview.path == "notes/ü.md"
        assert preview.text
        assert preview.at == given
        given += len(preview.text)


@settings(deadline=None)
@given(st.data(), st.lists(st.tuples(st.sampled_from("abcd"), wild_text), max_size=4))
def test_interleaved_calls_are_told_apart_by_index(
    data: st.DataObject, wanted: list[tuple[str, str]]
) -> None:
    queues: list[list[Fragment]] = []
    for index, (path, content) in enumerate(wanted):
        text = json.dumps({"path": path, "content": content})
        pieces = data.draw(cut(text))
        queues.append([(index, f"id{index}", "write_file", None)])
        queues[-1] += [(index, None, None, piece) for piece in pieces]
    fragments: list[Fragment] = []
    while any(queues):
        fragments.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    calls, previews = assemble(fragments)
    assert calls == [
        ToolCall(f"id{index}", "write_file", json.dumps({"path": path, "content": content}))
        for index, (path, content) in enumerate(wanted)
    ]
    assert sum(preview.at == 0 for preview in previews) == sum(bool(text) for _, text in wanted)


def test_a_preview_waits_until_the_path_is_complete() -> None:
    assert previewed(['{"content":"Hel', 'lo","path":"a', '.md"', "}"]) == [
        FilePreview("a.md", 0, "Hello")
    ]
    assert previewed(['{"path":"a.md","content":"Hel', "lo", ' you"}']) == [
        FilePreview("a.md", 0, "Hel"),
        FilePreview("a.md", 3, "lo"),
        FilePreview("a.md", 5, " you"),
    ]


def test_positions_count_code_points_not_units_or_bytes() -> None:
    pieces = ['{"path":"a","content":"\\ud83c', '\\udf89"', "}"]
    assert previewed(pieces) == [FilePreview("a", 0, "🎉")]
    pieces = ['{"path":"a","content":"🎉é', 'x"}']
    assert [preview.at for preview in previewed(pieces)] == [0, 2]


def test_halves_of_a_raw_pair_in_two_fragments_are_joined() -> None:
    pieces = ['{"path":"a","content":"x\ud83c', '\udf89y"}']
    assert "".join(preview.text for preview in previewed(pieces)) == "x🎉y"


def test_a_half_pair_at_the_end_of_the_content_is_previewed_too() -> None:
    pieces = ['{"path":"a","content":"x\\ud83c', '"}']
    assert "".join(preview.text for preview in previewed(pieces)) == "x\ufffd"


def test_previews_end_where_the_content_is_too_large_for_any_persona() -> None:
    pieces = ['{"path":"a","content":"', *["x" * 50_000] * 10]
    assert sum(len(preview.text) for preview in previewed(pieces)) == MAX_TOTAL_BYTES + 50_000


def test_unknown_keys_beside_do_not_disturb_a_preview() -> None:
    text = '{"why":{"a":["]",{}]},"n":1e3,"path":"a","content":"x","mode":null}'
    assert previewed(list(text)) == [FilePreview("a", 0, "x")]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"path":"../a","content":"x"}',
        '{"path":"a\\u0000","content":"x"}',
        '{"path":1,"content":"x"}',
        '{"path":"a","content":["x"]}',
        '{"content":"x"}',
        "path: a, content: x",
    ],
)
def test_a_file_that_cannot_be_valid_is_not_previewed(arguments: str) -> None:
    assert previewed([arguments]) == []


def test_broken_arguments_end_the_previews_quietly() -> None:
    assert previewed(['{"path":"a","content":"x', '\\q"}', "more"]) == [FilePreview("a", 0, "x")]


def test_other_tools_have_no_previews() -> None:
    assert previewed(['{"path":"a","content":"x"}'], name="delete_file") == []


ONE = '{"path":"a","content":"1"}'
TWO = '{"path":"b","content":"2"}'
BOTH = [ToolCall("x", "write_file", ONE), ToolCall("y", "write_file", TWO)]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        pytest.param(
            [(0, "x", "write_file", ONE), (1, "y", "write_file", TWO)], BOTH, id="in one fragment"
        ),
        pytest.param(
            [(1, "y", "write_file", TWO), (0, "x", "write_file", ONE)], BOTH, id="second first"
        ),
        pytest.param(
            [(0, "x", "write_file", ONE[:9]), (0, "x", "write_file", ONE[9:])],
            BOTH[:1],
            id="id and name repeated",
        ),
        pytest.param(
            [(0, "x", "write_", None), (0, None, "file", None), (0, None, None, ONE)],
            BOTH[:1],
            id="name in pieces",
        ),
        pytest.param(
            [(0, "x", "write_file", ""), (0, "z", None, ONE[:9]), (0, "w", "", ONE[9:])],
            BOTH[:1],
            id="a new id in every fragment",
        ),
        pytest.param(
            [(0, "x", "write_file", ONE), (0, "y", "write_file", TWO)], BOTH, id="one index for all"
        ),
        pytest.param(
            [(None, "x", "write_file", ONE), (None, "y", "write_file", TWO)], BOTH, id="no index"
        ),
        pytest.param(
            [
                (None, "x", "write_file", ONE[:9]),
                (None, "y", "write_file", TWO[:9]),
                (None, "x", None, ONE[9:]),
                (None, "y", None, TWO[9:]),
            ],
            BOTH,
            id="no index but ids",
        ),
        pytest.param(
            [(None, None, "write_file", ONE[:9]), (None, None, None, ONE[9:])],
            [ToolCall("call_0", "write_file", ONE)],
            id="neither index nor id",
        ),
        pytest.param(
            [(0, None, "write_file", ONE), (0, None, "write_file", TWO)],
            [ToolCall("call_0", "write_file", ONE), ToolCall("call_1", "write_file", TWO)],
            id="one index and no ids",
        ),
        pytest.param(
            [(0, "x", "write_file", ONE), (0, "x", "write_file", "")], BOTH[:1], id="an empty last"
        ),
        pytest.param([(0, None, None, None), (3, "", "", "")], [], id="nothing in it"),
        pytest.param(
            [(0, "call_1", "write_file", ONE), (1, None, "write_file", TWO)],
            [ToolCall("call_1", "write_file", ONE), ToolCall("call_3", "write_file", TWO)],
            id="a made id that is taken",
        ),
        pytest.param(
            [(0, "f", "write_file", ONE), (1, "f", "write_file", TWO)],
            [ToolCall("f", "write_file", ONE), ToolCall("call_1", "write_file", TWO)],
            id="the same id twice",
        ),
    ],
)
def test_calls_are_assembled_as_servers_really_send_them(
    fragments: list[Fragment], calls: list[ToolCall]
) -> None:
    assembled, previews = assemble(fragments)
    assert assembled == calls
    shown = {preview.path: preview.text for preview in previews}
    assert shown == {
        json.loads(c.arguments)["path"]: json.loads(c.arguments)["content"] for c in calls
    }


def test_calls_beyond_the_limit_are_left_out_and_mix_into_no_other() -> None:
    assembler = ToolCallAssembler()
    for index in range(MAX_CALLS):
        assembler.feed(index, f"id{index}", "write_file", "{")
    assert not assembler.overflowed
    assembler.feed(MAX_CALLS, "late", "write_file", "x")
    assembler.feed(MAX_CALLS, None, None, "x")
    assembler.feed(0, "later", "write_file", "x")
    assembler.feed(0, None, None, "x")
    assembler.feed(None, "later", "write_file", "x")
    assembler.feed(None, None, None, "x")
    assert assembler.overflowed
    calls = assembler.finish()
    assert len(calls) == MAX_CALLS
    assert {call.arguments for call in calls} == {"{"}


def test_arguments_beyond_the_limit_are_dropped_and_the_call_is_refused() -> None:
    assembler = ToolCallAssembler()
    assembler.feed(0, "a", "write_file", '{"path":"a","content":"')
    for _ in range(40):
        assembler.feed(0, None, None, "x" * 50_000)
    (call,) = assembler.finish()
    assert len(call.arguments) == MAX_ARGUMENTS_CHARACTERS + 1
    _, outcome = EMPTY.take(call)
    assert isinstance(outcome, Refused)
    assert outcome.code == "too_large"


def test_finished_calls_can_always_be_encoded() -> None:
    calls, _ = assemble([(0, "\ud800", "wri\ud800te", '{"a":"\ud83c'), (0, None, None, "\x00")])
    assert calls == [ToolCall("\ufffd", "wri\ufffdte", '{"a":"\ufffd\ufffd')]
