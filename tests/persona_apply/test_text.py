"""Text is cleaned alike whole and in pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply import TextJoiner, clean_text
from persona_apply.text import is_clean
from tests.persona_apply.cuts import as_units, cut, wild_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("", ""),
        ("plain é 🎉", "plain é 🎉"),
        ("\ud83c\udf89", "🎉"),
        ("a\ud83cb", "a\ufffdb"),
        ("\udf89\ud83c", "\ufffd\ufffd"),
        ("\ud83c\ud83c\udf89", "\ufffd🎉"),
        ("\x00", "\ufffd"),
    ],
)
def test_pairs_are_joined_and_what_is_no_scalar_value_is_replaced(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@settings(deadline=None)
@given(wild_text)
def test_clean_text_is_utf8_without_nul_and_stays_as_it_is(text: str) -> None:
    clean = clean_text(text)
    assert b"\x00" not in clean.encode()
    assert is_clean(clean)
    assert clean_text(clean) == clean


@settings(deadline=None)
@given(st.data(), wild_text)
def test_pieces_come_out_as_the_whole_would(data: st.DataObject, text: str) -> None:
    joiner = TextJoiner()
    pieces = [joiner.feed(piece) for piece in data.draw(cut(as_units(text)))]
    assert "".join([*pieces, joiner.flush()]) == clean_text(text)
    assert joiner.flush() == ""


def test_a_piece_waits_only_for_the_second_half_of_a_pair() -> None:
    joiner = TextJoiner()
    assert joiner.feed("hi\ud83c") == "hi"
    assert joiner.feed("\udf89!") == "🎉!"
    assert joiner.feed("a") == "a"
