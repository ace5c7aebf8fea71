"""A page's cursor is an id of ours or it is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import InvalidRequest
from jobs.ids import new_id
from jobs.store.pages import before_id, check_limit


@given(st.text())
@example("gen_" + "0" * 26 + "\n")
@example("gen_" + "\u0660" * 26)
@example("gen_" + "0" * 25)
def test_a_text_that_is_no_id_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        before_id(cursor)
    assert refused.value.field == "cursor"


def test_every_id_is_a_cursor_and_comes_before_the_first_page() -> None:
    for prefix in ("gen", "per"):
        one = new_id(prefix)
        assert before_id(one) == one
        assert one < before_id(None)


@given(st.integers())
def test_a_page_holds_1_to_100(limit: int) -> None:
    if 1 <= limit <= 100:
        check_limit(limit)
        return
    with pytest.raises(InvalidRequest):
        check_limit(limit)
