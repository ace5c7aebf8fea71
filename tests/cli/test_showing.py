"""What users and models wrote can't steer a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from relay.commands.showing import inert, one_line, shortened

ANY = st.text(st.characters())


@given(ANY)
def test_one_line_is_one_line_without_controls(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in shown)


@given(ANY)
def test_inert_text_has_no_control_but_line_ends_and_tabs(text: str) -> None:
    shown = inert(text)
    assert shown.count("\n") == text.count("\n")
    assert not any(
        unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"
        for character in shown
    )


def test_text_without_controls_is_left_as_it_is() -> None:
    text = "ChidÉ 🎉 👩‍👩‍👧 naïve — 日本語"
    assert one_line(text) == text
    assert inert(text + "\n\t") == text + "\n\t"


@given(ANY, st.integers(2, 60))
def test_a_shortened_text_is_at_most_that_long_and_marked(text: str, most: int) -> None:
    shown = shortened(text, most)
    assert len(shown) <= most
    assert shown == text or shown.endswith("…")
