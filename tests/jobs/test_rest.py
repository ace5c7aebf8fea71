"""How long a log rests: fast ones always, quick ones every other time, where they are alone."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.rest import NONE, SHARE_FOR_COMPANY, SHARE_OF_LONGEST_PAUSE, Rest, rest

LONGEST = 0.016


def test_a_lone_piece_soon_after_another_has_the_next_one_wait_for_company() -> None:
    assert rest(1, 0.005, LONGEST, alone=True) == Rest(0.005 + LONGEST / 2, 2)


def test_two_pieces_have_the_next_one_wait_for_nothing() -> None:
    assert rest(2, 0.007, LONGEST, alone=True) == NONE


def test_where_a_flush_is_of_others_too_a_piece_waits_for_no_company() -> None:
    assert rest(1, 0.005, LONGEST, alone=False) == NONE


def test_a_piece_that_came_late_has_the_next_one_wait_for_nothing() -> None:
    assert rest(1, LONGEST * SHARE_FOR_COMPANY, LONGEST, alone=True) == NONE


def test_a_fast_log_takes_the_longest_pause_whoever_leaves_with_it() -> None:
    for alone in (True, False):
        assert rest(3, LONGEST * SHARE_OF_LONGEST_PAUSE, LONGEST, alone=alone) == Rest(LONGEST, 0)


@given(
    pieces=st.integers(0, 1000),
    passed=st.floats(0, 1e6),
    longest=st.floats(0, 10),
    alone=st.booleans(),
)
def test_no_log_rests_longer_than_the_longest_pause(
    pieces: int, passed: float, longest: float, alone: bool
) -> None:
    assert 0 <= rest(pieces, passed, longest, alone=alone).seconds <= longest
