"""A persona that exists is a valid one."""

from collections.abc import Mapping

import pytest

from persona_apply import MAX_FILES, MAX_SKILLS, MAX_TOTAL_BYTES, InvalidPersona, Persona


def persona(
    files: Mapping[str, str] | None = None,
    skills: tuple[str, ...] = (),
    name: str = "Ada",
    brief: str = "",
) -> Persona:
    return Persona(name=name, brief=brief, files=files or {}, skills=skills)


@pytest.mark.parametrize(
    ("invalid", "code"),
    [
        ({"files": {"../a": ""}}, "path_traversal"),
        ({"files": {"a": "", "A": ""}}, "path_case_collision"),
        ({"files": {f"{n}": "" for n in range(MAX_FILES + 1)}}, "too_many_files"),
        ({"files": {"a": "x" * MAX_TOTAL_BYTES, "b": "x"}}, "files_too_large"),
        ({"files": {"a": "é" * (MAX_TOTAL_BYTES // 2 + 1)}}, "files_too_large"),
        ({"files": {"a": "\ud800"}}, "text_not_unicode"),
        ({"files": {"a": "\x00"}}, "text_not_unicode"),
        ({"name": "\x00"}, "text_not_unicode"),
        ({"brief": "\udfff"}, "text_not_unicode"),
        ({"skills": ("a", "a")}, "skill_duplicate"),
        ({"skills": (" ",)}, "skill_id_empty"),
        ({"skills": tuple(f"s{n}" for n in range(MAX_SKILLS + 1))}, "too_many_skills"),
    ],
)
def test_an_invalid_persona_cannot_be_made(invalid: dict[str, object], code: str) -> None:
    with pytest.raises(InvalidPersona) as refused:
        persona(**invalid)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_a_persona_at_its_limits_can_be_made() -> None:
    files = {f"{n:02}": "x" * (MAX_TOTAL_BYTES // MAX_FILES) for n in range(MAX_FILES)}
    full = persona(files, tuple(f"s{n}" for n in range(MAX_SKILLS)))
    assert sum(map(len, full.files.values())) == MAX_TOTAL_BYTES


def test_files_are_sorted_and_stay_what_they_were() -> None:
    files = {"b": "2", "a": "1"}
    made = persona(files)
    files["c"] = "3"
    assert list(made.files.items()) == [("a", "1"), ("b", "2")]
    with pytest.raises(TypeError):
        made.files["c"] = "3"  # type: ignore[index]


def test_personas_of_the_same_values_are_equal() -> None:
    assert persona({"a": "1", "b": "2"}) == persona({"b": "2", "a": "1"})
    assert persona({"a": "1"}) != persona({"a": "2"})
