"""Whose a generation is, is known of the last ones alone."""

from relay.recent_owners import RecentOwners


def test_the_one_that_was_noted_longest_ago_makes_room() -> None:
    owners = RecentOwners(most=2)
    owners.note("gen_a", "ann")
    owners.note("gen_b", "bob")
    owners.note("gen_a", "ann")
    owners.note("gen_c", "cem")
    assert [owners.recall(f"gen_{name}") for name in "abc"] == ["ann", None, "cem"]


def test_what_was_forgotten_is_not_recalled() -> None:
    owners = RecentOwners()
    owners.note("gen_a", "ann")
    owners.forget("gen_a")
    owners.forget("gen_b")
    assert owners.recall("gen_a") is None
