"""Ids say what they name and sort by time."""

import re

from jobs.ids import new_id


def test_ids_made_one_after_the_other_sort_that_way_and_differ() -> None:
    made = [new_id("gen") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_an_id_is_its_prefix_and_a_lower_case_ulid() -> None:
    assert re.fullmatch(r"trn_[0-9a-hjkmnp-tv-z]{26}", new_id("trn"))
