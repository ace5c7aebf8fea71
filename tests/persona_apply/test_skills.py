"""A name finds the skill that it means, and none where two could be meant."""

import re

import pytest
from hypothesis import given, settings

from persona_apply import Catalogue, InvalidCatalogue, Skill
from persona_apply.skills import AMBIGUITY_MARGIN, MATCH_THRESHOLD
from tests.persona_apply.cuts import wild_text


def skill(id: str, name: str, *aliases: str) -> Skill:
    return Skill(id, name, aliases, "What it is for.", "What to do.")


SMALL = Catalogue(
    (
        skill("code-review", "Code review", "PR review", "C++"),
        skill("debugging", "Debugging", "bug hunting"),
        skill("text-design", "Text design"),
        skill("test-design", "Test design"),
    )
)


@pytest.mark.parametrize(
    ("requested", "matched"),
    [
        ("code-review", "code-review"),
        ("Code Review", "code-review"),
        ("CODE_REVIEW", "code-review"),
        ("  pr-review ", "code-review"),
        ("bug\u00a0hunting", "debugging"),
        ("DEBUGGING", "debugging"),
    ],
)
def test_own_names_match_in_any_case_and_spacing(requested: str, matched: str) -> None:
    match = SMALL.match(requested)
    assert match.skill == SMALL.get(matched)
    assert match.score == 1.0


@pytest.mark.parametrize(
    ("requested", "matched"),
    [
        ("code reviews", "code-review"),
        ("reviewing code", "code-review"),
        ("debuging", "debugging"),
        ("review, code", "code-review"),
        ("design of tests", None),
        ("teat design", None),
        ("design", None),
        ("cooking", None),
        ("", None),
        ("***", None),
        ("🎉", None),
    ],
)
def test_a_near_name_matches_when_it_is_near_one_skill_alone(
    requested: str, matched: str | None
) -> None:
    match = SMALL.match(requested)
    assert (match.skill.id if match.skill else None) == matched
    assert match.score < 1
    assert match.score == round(match.score, 3)


def test_two_skills_equally_near_are_no_match_and_both_are_named() -> None:
    match = SMALL.match("tet design")
    assert match.skill is None
    assert match.score >= MATCH_THRESHOLD
    assert set(match.closest[:2]) == {"test-design", "text-design"}


@settings(deadline=None)
@given(wild_text)
def test_a_match_is_what_its_score_says(requested: str) -> None:
    match = Catalogue.default().match(requested)
    assert 0 <= match.score <= 1
    assert len(match.closest) in (1, 3)
    if match.skill:
        assert match.score >= MATCH_THRESHOLD
        assert match.closest[0] == match.skill.id


def test_an_empty_catalogue_matches_nothing() -> None:
    match = Catalogue(()).match("anything")
    assert (match.skill, match.score, match.closest) == (None, 0.0, ())


@pytest.mark.parametrize(
    ("skills", "code"),
    [
        ((skill("a", "One"), skill("b", "ONE")), "label_ambiguous"),
        ((skill("a-b", "One"), skill("b", "Two", "A b")), "label_ambiguous"),
        ((skill("a", "One"), skill("a", "Two")), "label_ambiguous"),
        ((skill("a", " "),), "skill_incomplete"),
        ((skill("a", "One", "-"),), "skill_incomplete"),
        ((Skill("a", "One", (), " ", "x"),), "skill_incomplete"),
    ],
)
def test_a_catalogue_in_which_a_name_is_unclear_cannot_be_made(
    skills: tuple[Skill, ...], code: str
) -> None:
    with pytest.raises(InvalidCatalogue) as refused:
        Catalogue(skills)
    assert refused.value.code == code


def test_the_shipped_catalogue_is_complete_and_well_formed() -> None:
    skills = Catalogue.default().skills
    assert len(skills) >= 40
    for each in skills:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each.id)
        assert 2 <= len(each.aliases) <= 5
        assert re.fullmatch(r"[A-Z][^.!?]*\.", each.description)
        assert 2 <= len(re.findall(r"[.!?](?:\s|$)", each.instructions)) <= 5
        assert len(each.instructions) >= 150


def test_every_shipped_skill_is_found_by_each_of_its_names() -> None:
    catalogue = Catalogue.default()
    for each in catalogue.skills:
        for name in (each.id, each.name, *each.aliases, each.name.upper().replace(" ", "_")):
            assert catalogue.match(name).skill is each


def test_a_typing_error_in_any_shipped_name_finds_no_other_skill() -> None:
    catalogue = Catalogue.default()
    for each in catalogue.skills:
        for at in range(len(each.name)):
            found = catalogue.match(each.name[:at] + each.name[at + 1 :]).skill
            assert found is None or found is each
    assert AMBIGUITY_MARGIN > 0
