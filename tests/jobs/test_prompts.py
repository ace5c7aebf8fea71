"""What the model is told for each kind, in chat-completions form."""

from jobs.generation import Kind
from jobs.prompts import first_messages
from jobs.store.claims import Context, PersonaRow
from persona_apply import Catalogue

CATALOGUE = Catalogue.default()
PERSONA = PersonaRow(
    id="per_1",
    name="Ada",
    brief="A tutor",
    version=2,
    files={"persona.md": "# Ada\n\nÉ 🎉", "voice.md": "Warm."},
    skills=("negotiation",),
)


def test_a_chat_is_shown_its_history_between_the_system_and_the_input() -> None:
    context = Context((("one", "eins"), ("two", "zwei")), None)
    messages = first_messages(Kind.CHAT, "three", context, CATALOGUE)
    assert [(message["role"], message["content"]) for message in messages[1:]] == [
        ("user", "one"), ("assistant", "eins"), ("user", "two"), ("assistant", "zwei"),
        ("user", "three"),
    ]  # fmt: skip
    assert messages[0]["role"] == "system"


def test_an_answer_without_text_is_no_message() -> None:
    context = Context((("make it", ""),), PERSONA)
    messages = first_messages(Kind.REFINE, "and now", context, CATALOGUE)
    assert [message["content"] for message in messages[1:]] == ["make it", "and now"]
    assert all(message["content"] for message in messages)


def test_a_generate_is_told_the_rules_the_catalogue_the_name_and_the_brief() -> None:
    new = PersonaRow(id="per_1", name="Ada", brief="A tutor", version=0, files={}, skills=())
    system, asked = first_messages(Kind.GENERATE, "A tutor", Context((), new), CATALOGUE)
    assert asked == {"role": "user", "content": "Name: Ada\nBrief: A tutor"}
    assert all(tool in system["content"] for tool in ("write_file", "delete_file", "use_skill"))
    assert all(f"- {skill.id}: " in system["content"] for skill in CATALOGUE.skills)


def test_a_refine_is_told_all_files_and_skills() -> None:
    system, asked = first_messages(Kind.REFINE, "Kinder.", Context((), PERSONA), CATALOGUE)
    for path, content in PERSONA.files.items():
        assert f'<file path="{path}">\n{content}\n</file>' in system["content"]
    assert "Skills: negotiation" in system["content"]
    assert asked == {"role": "user", "content": "Kinder."}
