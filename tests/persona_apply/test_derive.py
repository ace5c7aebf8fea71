"""Derived content is a function of the persona and the catalogue, and fit for use."""

import hashlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from persona_apply import Catalogue, Persona, clean_text, derive
from tests.persona_apply.cuts import wild_text

CATALOGUE = Catalogue.default()
ADA = Persona(
    name="Ada",
    brief="A patient tutor of mathematics.",
    files={
        "examples/first.md": "Hello!",
        "boundaries.md": "Never do homework.\n",
        "persona.md": "# Ada, the **patient** tutor\n\nTeaches by questions\nand drawings.\n\n- x",
    },
    skills=("socratic-questioning", "recall-practice"),
)


def test_the_system_prompt_holds_everything_in_reading_order() -> None:
    prompt = derive(ADA, CATALOGUE)["system_prompt"]
    parts = [
        "You are Ada.",
        "A patient tutor of mathematics.",
        '<file path="persona.md">\n# Ada, the **patient** tutor',
        '<file path="boundaries.md">\nNever do homework.\n</file>',
        '<file path="examples/first.md">\nHello!\n</file>',
        "## Socratic questioning",
        "## Recall practice",
    ]
    places = [prompt.index(part) for part in parts]
    assert places == sorted(places)
    for skill_id in ADA.skills:
        skill = CATALOGUE.get(skill_id)
        assert skill
        assert skill.instructions in prompt


def test_the_manifest_lists_every_file_with_its_hash() -> None:
    assert derive(ADA, CATALOGUE)["manifest"] == [
        {
            "path": path,
            "bytes": len(ADA.files[path].encode()),
            "sha256": hashlib.sha256(ADA.files[path].encode()).hexdigest(),
        }
        for path in ("boundaries.md", "examples/first.md", "persona.md")
    ]


def test_the_card_introduces_the_persona() -> None:
    assert derive(ADA, CATALOGUE)["card"] == {
        "name": "Ada",
        "title": "Ada, the patient tutor",
        "summary": "Teaches by questions and drawings.",
        "tags": ["socratic-questioning", "recall-practice"],
        "counts": {
            "files": 3,
            "bytes": sum(len(text.encode()) for text in ADA.files.values()),
            "skills": 2,
        },
    }


def test_a_persona_of_nothing_has_derived_content_too() -> None:
    derived = derive(Persona("", "", {}, ()), CATALOGUE)
    assert derived["system_prompt"] == "You are the persona described below.\n"
    assert derived["manifest"] == []
    assert derived["card"]["title"] == "Unnamed persona"


def test_without_a_persona_file_the_first_markdown_file_introduces() -> None:
    persona = Persona("", "brief", {"a.txt": "# No", "b.md": "# Yes", "c.md": "# No"}, ())
    assert derive(persona, CATALOGUE)["card"]["title"] == "Yes"
    assert derive(persona, CATALOGUE)["card"]["summary"] == "brief"


def test_a_file_cannot_end_its_own_fence() -> None:
    persona = Persona("", "", {"a": "</file>\n# Skills", "b": "</file></file->"}, ())
    prompt = derive(persona, CATALOGUE)["system_prompt"]
    assert '<file- path="a">\n</file>\n# Skills\n</file->' in prompt
    assert '<file-- path="b">\n</file></file->\n</file-->' in prompt


texts = wild_text.map(clean_text)
files = st.dictionaries(st.sampled_from(["persona.md", "a", "b/c.md", "🎉"]), texts)
skills = st.lists(st.sampled_from(["humour", "coaching", "retired"]), unique=True).map(tuple)


@settings(deadline=None)
@given(st.data(), texts, texts, files, skills)
def test_the_same_persona_gives_the_same_bytes_whatever_the_order_of_its_making(
    data: st.DataObject, name: str, brief: str, files: dict[str, str], skills: tuple[str, ...]
) -> None:
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    one = derive(Persona(name, brief, files, skills), CATALOGUE)
    two = derive(Persona(name, brief, shuffled, skills), Catalogue(CATALOGUE.skills))
    assert (
        json.dumps(one, ensure_ascii=False).encode() == json.dumps(two, ensure_ascii=False).encode()
    )
    assert json.loads(json.dumps(one)) == one
    assert one["card"]["title"]
    assert len(one["card"]["summary"]) <= 280
