"""The strings of a streamed JSON object are those that a parser of the whole finds."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply.partial_json import ObjectReader
from persona_apply.text import join_surrogates
from tests.persona_apply.cuts import cut, json_object, wild_text

keys = wild_text.map(join_surrogates)
values = st.recursive(
    st.one_of(wild_text, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(wild_text, inner, max_size=3)
    ),
    max_leaves=6,
)


def read(pieces: list[str]) -> tuple[dict[str, str], set[str], bool]:
    """The text of each string value, the keys of those that ended, and whether the object did."""
    reader = ObjectReader()
    found: dict[str, str] = {}
    ended: set[str] = set()
    for piece in pieces:
        for string in reader.feed(piece):
            assert string.key not in ended
            found[string.key] = found.get(string.key, "") + string.text
            if string.ended:
                ended.add(string.key)
    return found, ended, reader.complete


@settings(deadline=None)
@given(st.data(), st.dictionaries(keys, wild_text, max_size=4))
def test_every_cutting_gives_what_json_loads_gives(
    data: st.DataObject, pairs: dict[str, str]
) -> None:
    text = data.draw(json_object(pairs))
    whole = json.loads(text)
    found, ended, complete = read(data.draw(cut(text)))
    assert complete
    assert ended == set(found) == set(whole)
    for key, value in whole.items():
        assert join_surrogates(found[key]) == join_surrogates(value)


@settings(deadline=None)
@given(st.data(), st.dictionaries(keys, values, max_size=4), st.sampled_from([None, 1]))
def test_values_that_are_no_strings_are_passed_over(
    data: st.DataObject, whole: dict[str, object], indent: int | None
) -> None:
    text = json.dumps(whole, indent=indent, ensure_ascii=data.draw(st.booleans()))
    whole = json.loads(text)
    found, _, complete = read(data.draw(cut(text)))
    assert complete
    assert set(found) == {key for key, value in whole.items() if isinstance(value, str)}


@settings(deadline=None)
@given(st.data(), st.text(st.sampled_from('{}[]":,\\u0d83ab \n'), max_size=30))
def test_any_text_reads_alike_in_every_cutting_and_whole_objects_are_complete(
    data: st.DataObject, text: str
) -> None:
    found = read(data.draw(cut(text)))
    assert found == read([text]) == read(list(text))
    try:
        whole = json.loads(text, strict=False, object_pairs_hook=list)
    except ValueError:
        return
    # An object came as the list of its pairs, an array as a list too: the text tells them apart.
    unique = text.lstrip().startswith("{") and len(dict(whole)) == len(whole)
    assert found[2] is unique


@pytest.mark.parametrize(
    "text",
    [
        '["a"]',
        '"a"',
        '{a:"b"}',
        '{"a" "b"}',
        '{"a":"b",}',
        '{"a":"b"',
        '{"a":"b"}}',
        '{"a":"\\x"}',
        '{"a":"\\u12g4"}',
        '{"a":}',
        '{,"a":"b"}',
        '{"a":"b" "c":"d"}',
        '{"a":"b","a":"c"}',
    ],
)
def test_broken_text_is_never_complete(text: str) -> None:
    assert not read([text])[2]


def test_nothing_comes_after_the_place_where_the_text_broke() -> None:
    assert read(['{"a":"x\\qy","b":"z"}'])[0] == {"a": "x"}
    assert read(['{"a":"1","a":"2"}'])[0] == {"a": "1"}


def test_a_raw_line_end_in_a_string_is_taken_as_itself() -> None:
    assert read(['{"a":"x\ny"}'])[0] == {"a": "x\ny"}


def test_work_grows_with_the_text_not_with_its_square() -> None:
    def seconds(characters: int) -> float:
        text = '{"content":"' + "é\\n\\u00e9" * (characters // 9) + '"}'
        reader = ObjectReader()
        start = time.process_time()
        for at in range(0, len(text), 4):
            reader.feed(text[at : at + 4])
        assert reader.complete
        return time.process_time() - start

    small = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * small
