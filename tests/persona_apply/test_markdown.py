"""Headings and paragraphs are found as a reader would find them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply.markdown import first_heading, first_paragraph, one_line


@pytest.mark.parametrize(
    ("text", "heading", "paragraph"),
    [
        ("", "", ""),
        ("# A\n\nb", "A", "b"),
        ("### A ###\nb\nc\n\nd", "A", "b c"),
        ("b\n# A", "A", "b"),
        ("#tag is prose? no\n\n#\n\nyes", "", "#tag is prose? no"),
        ("---\ntitle: x\n# y\n---\n# A\nb", "A", "b"),
        ("---\nb", "", "b"),
        ("```\n# A\n```\n# B\n~~~\nx\n~~~\ny", "B", "y"),
        ("* a\n- b\n1. c\n> d\n| e |\n\nf", "", "f"),
        (
            "# **Bold** `code` [link](http://x)\n![pic](y) and __more__",
            "Bold code link",
            "pic and more",
        ),
        ("snake_case stays", "", "snake_case stays"),
    ],
)
def test_first_heading_and_first_paragraph(text: str, heading: str, paragraph: str) -> None:
    assert first_heading(text) == heading
    assert first_paragraph(text) == paragraph


@pytest.mark.parametrize(
    ("text", "characters", "line"),
    [
        ("a  b\n c", 10, "a b c"),
        ("one two three", 13, "one two three"),
        ("one two three", 12, "one two…"),
        ("one, two", 6, "one…"),
        ("abcdefgh", 5, "abcd…"),
    ],
)
def test_a_line_is_cut_at_a_word(text: str, characters: int, line: str) -> None:
    assert one_line(text, characters) == line


@settings(deadline=None)
@given(st.text(), st.integers(2, 50))
def test_a_line_is_never_longer_than_asked(text: str, characters: int) -> None:
    line = one_line(text, characters)
    assert len(line) <= characters
    assert len(line.splitlines()) <= 1
