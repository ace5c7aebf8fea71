"""Whatever calls a model makes, a draft stays a valid persona and says what became of each."""

import hashlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_FILES,
    MAX_SKILLS,
    MAX_TOTAL_BYTES,
    REFUSAL_CODES,
    Catalogue,
    Draft,
    FileDeleted,
    FileWritten,
    Outcome,
    Persona,
    Refused,
    Skill,
    SkillChosen,
    ToolCall,
    answer,
    derive,
)
from tests.persona_apply.cuts import wild_text

CATALOGUE = Catalogue.default()


def draft_of(files: Mapping[str, str] | None = None, skills: tuple[str, ...] = ()) -> Draft:
    return Draft.of(Persona("Ada", "A tutor.", files or {}, skills), CATALOGUE)


def call(tool: str, /, **arguments: object) -> ToolCall:
    return ToolCall("c", tool, json.dumps(arguments))


def write(path: str, content: str) -> ToolCall:
    return call("write_file", path=path, content=content)


def taken(draft: Draft, *calls: ToolCall) -> tuple[Draft, list[Outcome]]:
    outcomes = []
    for each in calls:
        draft, outcome = draft.take(each)
        outcomes.append(outcome)
    return draft, outcomes


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ORDINARY = draft_of({"persona.md": "# Ada", "notes/a.md": "a"})
FULL = draft_of({f"f{n}": "" for n in range(MAX_FILES)})
HEAVY = draft_of({"a": "x" * (MAX_TOTAL_BYTES - 1)})
SKILLED = draft_of(skills=tuple(skill.id for skill in CATALOGUE.skills[:MAX_SKILLS]))

REFUSALS = [
    (ORDINARY, call("run_shell", path="a"), "unknown_tool"),
    (ORDINARY, ToolCall("c", "", "{}"), "unknown_tool"),
    (ORDINARY, ToolCall("c", "delete_file", " " * (MAX_ARGUMENTS_CHARACTERS + 1)), "too_large"),
    (ORDINARY, ToolCall("c", "write_file", ""), "invalid_json"),
    (ORDINARY, ToolCall("c", "write_file", '{"path":"a","content":"x'), "invalid_json"),
    (ORDINARY, ToolCall("c", "write_file", '{"path":"a"} {"path":"b"}'), "invalid_json"),
    (ORDINARY, ToolCall("c", "write_file", "[" * 1_000_000), "invalid_json"),
    (ORDINARY, ToolCall("c", "write_file", '{"path":' + "1" * 10_000 + "}"), "invalid_json"),
    (ORDINARY, ToolCall("c", "write_file", '["a"]'), "not_an_object"),
    (ORDINARY, ToolCall("c", "delete_file", '{"path":"a","path":"b"}'), "duplicate_argument"),
    (ORDINARY, call("write_file", path="a"), "missing_argument"),
    (ORDINARY, call("write_file", path="a", content="", mode="w"), "unknown_argument"),
    (ORDINARY, call("write_file", path="a", content=["x"]), "wrong_type"),
    (ORDINARY, call("delete_file", path=None), "wrong_type"),
    (ORDINARY, write("", "x"), "path_empty"),
    (ORDINARY, write("a" * 256, "x"), "path_too_long"),
    (ORDINARY, write("a\ud800", "x"), "path_not_unicode"),
    (ORDINARY, write("a\x00", "x"), "path_control"),
    (ORDINARY, write("a\u202e", "x"), "path_bidi"),
    (ORDINARY, write("a\\b", "x"), "path_backslash"),
    (ORDINARY, write("/a", "x"), "path_absolute"),
    (ORDINARY, write("C:a", "x"), "path_drive_letter"),
    (ORDINARY, write("a//b", "x"), "path_empty_segment"),
    (ORDINARY, write("./a", "x"), "path_dot_segment"),
    (ORDINARY, call("delete_file", path="../persona.md"), "path_traversal"),
    (ORDINARY, write("e\u0301", "x"), "path_not_normalised"),
    (ORDINARY, write("Persona.md", "x"), "path_case_collision"),
    (ORDINARY, write("notes", "x"), "path_file_and_folder"),
    (ORDINARY, write("persona.md/a", "x"), "path_file_and_folder"),
    (FULL, write("one more", ""), "too_many_files"),
    (HEAVY, write("b", "é"), "files_too_large"),
    (ORDINARY, call("delete_file", path="gone.md"), "file_absent"),
    (ORDINARY, call("use_skill", name=" \t"), "skill_name_empty"),
    (ORDINARY, call("use_skill", name="x" * 201), "skill_name_too_long"),
    (SKILLED, call("use_skill", name=CATALOGUE.skills[-1].id), "too_many_skills"),
]


@pytest.mark.parametrize(("draft", "bad", "code"), REFUSALS)
def test_a_refused_call_leaves_the_draft_as_it_was(draft: Draft, bad: ToolCall, code: str) -> None:
    after, outcome = draft.take(bad)
    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert outcome.message.isascii()
    assert after is draft
    assert json.loads(answer(outcome)) == {"ok": False, "code": code, "message": outcome.message}


def test_every_refusal_code_has_a_call_that_meets_it() -> None:
    assert {code for _, _, code in REFUSALS} == REFUSAL_CODES


def test_a_written_file_is_part_of_the_next_persona_only() -> None:
    draft = draft_of({"a": "1"})
    after, outcome = draft.take(write("b", "é\x00\ud83c\udf89\ud83c"))
    content = "é\ufffd🎉\ufffd"
    assert outcome == FileWritten("b", len(content.encode()), sha256(content))
    assert dict(after.persona.files) == {"a": "1", "b": content}
    assert dict(draft.persona.files) == {"a": "1"}
    assert json.loads(answer(outcome)) == {"ok": True, "written": "b", "bytes": outcome.bytes}


def test_a_line_end_that_the_model_forgot_to_escape_is_taken_as_itself() -> None:
    forgot = ToolCall("c", "write_file", '{"path":"a","content":"one\n\ttwo"}')
    assert draft_of().take(forgot)[0].persona.files["a"] == "one\n\ttwo"


def test_a_deletion_tells_what_was_deleted() -> None:
    after, outcome = draft_of({"a": "été"}).take(call("delete_file", path="a"))
    assert outcome == FileDeleted("a", 5, sha256("été"))
    assert not after.persona.files
    assert json.loads(answer(outcome)) == {"ok": True, "deleted": "a"}


def test_a_persona_can_be_filled_to_its_limits_and_files_replaced_there() -> None:
    _, outcomes = taken(FULL, write("f0", "x"), call("delete_file", path="f1"), write("new", ""))
    assert [type(outcome) for outcome in outcomes] == [FileWritten, FileDeleted, FileWritten]
    _, outcomes = taken(HEAVY, write("b", "x"), write("a", "y" * (MAX_TOTAL_BYTES - 1)))
    assert [type(outcome) for outcome in outcomes] == [FileWritten, FileWritten]


def test_a_renaming_in_case_works_by_deleting_first() -> None:
    draft, outcomes = taken(
        ORDINARY, call("delete_file", path="persona.md"), write("Persona.md", "x")
    )
    assert not any(isinstance(outcome, Refused) for outcome in outcomes)
    assert list(draft.persona.files) == ["Persona.md", "notes/a.md"]


def test_skills_are_taken_once_and_in_order() -> None:
    draft, outcomes = taken(
        draft_of(),
        call("use_skill", name="plain-language"),
        call("use_skill", name="Code  Review"),
        call("use_skill", name="plain english"),
    )
    assert draft.persona.skills == ("plain-language", "code-review")
    assert outcomes[2] == SkillChosen("plain english", "plain-language", 1.0)
    assert json.loads(answer(outcomes[2])) == {"ok": True, "skill": "plain-language"}


def test_a_skill_had_already_may_be_asked_for_again_at_the_limit() -> None:
    draft, outcome = SKILLED.take(call("use_skill", name=CATALOGUE.skills[0].name))
    assert outcome == SkillChosen(CATALOGUE.skills[0].name, CATALOGUE.skills[0].id, 1.0)
    assert draft is SKILLED


def test_an_unknown_skill_changes_nothing_and_is_answered_with_the_closest() -> None:
    draft = draft_of()
    after, outcome = draft.take(call("use_skill", name="quantum knitting"))
    assert isinstance(outcome, SkillChosen)
    assert (outcome.requested, outcome.matched) == ("quantum knitting", None)
    assert 0 <= outcome.score < 0.85
    assert after is draft
    told = json.loads(answer(outcome))
    assert (told["ok"], told["code"], len(told["closest"])) == (False, "skill_unknown", 3)


def test_changes_tell_the_difference_from_the_base() -> None:
    draft, _ = taken(
        draft_of({"a": "1", "b": "2", "c": "3"}, ("plain-language",)),
        write("d", "4"),
        write("b", "two"),
        write("c", "3"),
        call("delete_file", path="a"),
        call("use_skill", name="code-review"),
        write("e", "gone again"),
        call("delete_file", path="e"),
    )
    changes = draft.changes()
    assert changes is not None
    assert changes.persona == draft.persona
    assert changes.written == ("b", "d")
    assert changes.deleted == ("a",)
    assert changes.skills_added == ("code-review",)
    assert changes.derived == derive(draft.persona, CATALOGUE)


@pytest.mark.parametrize(
    "calls",
    [
        [],
        [write("a", "1")],
        [write("b", "2"), call("delete_file", path="b")],
        [call("delete_file", path="a"), write("a", "1")],
        [call("use_skill", name="plain-language")],
        [call("use_skill", name="quantum knitting"), write("../b", "2")],
    ],
)
def test_what_changes_nothing_in_effect_is_no_change(calls: list[ToolCall]) -> None:
    draft, _ = taken(draft_of({"a": "1"}, ("plain-language",)), *calls)
    assert draft.changes() is None


paths = st.one_of(st.sampled_from(["a", "A", "a/b", "b", "../c", "persona.md"]), wild_text)
arguments = st.one_of(
    st.fixed_dictionaries({"path": paths, "content": wild_text}),
    st.fixed_dictionaries({"path": paths}),
    st.fixed_dictionaries({"name": st.one_of(wild_text, st.sampled_from(["humour", "a11y"]))}),
    st.dictionaries(wild_text, st.one_of(wild_text, st.none(), st.integers()), max_size=2),
).map(json.dumps)
calls = st.builds(
    ToolCall,
    id=st.just("c"),
    name=st.sampled_from(["write_file", "delete_file", "use_skill", "other"]),
    arguments=st.one_of(arguments, wild_text),
)


@settings(deadline=None)
@given(st.lists(calls, max_size=12))
def test_no_calls_whatever_make_an_invalid_persona(made: list[ToolCall]) -> None:
    draft = draft_of()
    for each in made:
        before = draft
        draft, outcome = draft.take(each)
        if isinstance(outcome, Refused):
            assert outcome.code in REFUSAL_CODES
            assert draft is before
        if isinstance(outcome, FileWritten):
            content = draft.persona.files[outcome.path]
            assert outcome == FileWritten(outcome.path, len(content.encode()), sha256(content))
        assert isinstance(json.loads(answer(outcome))["ok"], bool)
        answer(outcome).encode()
    # Made anew from its values: the constructor checks every rule.
    persona = draft.persona
    again = Persona(persona.name, persona.brief, persona.files, persona.skills)
    assert again == persona
    assert all(CATALOGUE.get(skill) for skill in persona.skills)
    assert (draft.changes() is None) is (persona == draft.base)


def test_a_retired_skill_stays_with_the_persona_that_has_it() -> None:
    old = Catalogue((Skill("gone", "Gone", (), "Was here.", "Do as before."),))
    draft, _ = Draft.of(draft_of().persona, old).take(call("use_skill", name="gone"))
    later, _ = Draft.of(draft.persona, CATALOGUE).take(write("a", "1"))
    changes = later.changes()
    assert changes is not None
    assert changes.persona.skills == ("gone",)
    assert changes.derived["card"]["tags"] == ["gone"]
    assert "Do as before." not in changes.derived["system_prompt"]
