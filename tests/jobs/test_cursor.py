"""A cursor has one canonical form, and orders as the events do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.cursor import Cursor, parse_cursor

numbers = st.integers(0, 999_999_999)
cursors = st.builds(Cursor, numbers, numbers, numbers)


@settings(deadline=None)
@given(cursors)
def test_what_a_cursor_writes_is_read_as_itself(cursor: Cursor) -> None:
    assert parse_cursor(str(cursor)) == cursor


@settings(deadline=None)
@given(st.one_of(st.text(max_size=20), st.text("0123456789.+- \n٣", max_size=16)))
def test_any_other_text_than_the_canonical_form_is_none(text: str) -> None:
    cursor = parse_cursor(text)
    assert cursor is None or str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1.2", "1.2.3.4", "1.2.", ".1.2", "01.2.3", "1.02.3", "1.2.00", "-1.2.3", "+1.2.3",
        " 1.2.3", "1.2.3 ", "1.2.3\n", "1.2.3\r\n", "1,2,3", "1.2.x", "1.2.٣", "1_0.2.3", "1e1.2.3",
        "1.2.1000000000", "9" * 5000 + ".1.1", "null", "\x00",
    ],
)  # fmt: skip
def test_a_malformed_cursor_is_none(text: str) -> None:
    assert parse_cursor(text) is None


@settings(deadline=None)
@given(cursors, cursors)
def test_cursors_order_by_attempt_then_seq_then_offset(one: Cursor, other: Cursor) -> None:
    parts = [(c.attempt, c.seq, c.offset) for c in (one, other)]
    assert (one < other) == (parts[0] < parts[1])
    assert (one == other) == (parts[0] == parts[1])
    assert len({one, other}) == len(set(parts))
