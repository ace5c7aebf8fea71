"""What the model is told: the messages of the first round, made from a claim and its context."""

from typing import Any

from jobs.generation import Kind
from jobs.kinds import Asked
from jobs.store.claims import Claimed, Context, PersonaRow
from persona_apply import Catalogue

_CHAT = "You are a helpful assistant. Answer clearly and to the point."

_PERSONA_RULES = """\
You design personas: characters that an AI assistant can take on. A persona is a small set of
Markdown files and a choice of skills from a catalogue.

- Write files with write_file. Start with persona.md (who this is), then what the persona needs:
  voice, boundaries, knowledge, examples. Whole files only; paths are relative, like voice.md.
- Remove a file with delete_file.
- Choose fitting skills with use_skill, by the names in the catalogue below.
- A call that is answered with an error changed nothing: mend it and call again.
- Besides the calls, tell the user in a sentence or two what you did.
"""

_REFINE_RULES = """\
The user now talks to you about the persona below. Answer in text when that is what they want;
change files and skills with the tools when they ask for a change.
"""


def first_messages(
    kind: Kind, user_input: str, context: Context, catalogue: Catalogue
) -> list[dict[str, Any]]:
    """System, history (oldest first) and the user's input, in chat-completions form."""
    history = [
        {"role": role, "content": text}
        for pair in context.history
        for role, text in zip(("user", "assistant"), pair, strict=True)
        if text
    ]
    if kind is Kind.CHAT:
        system, asked = _CHAT, user_input
    else:
        assert context.persona is not None, "a persona's generation has a persona"
        system = f"{_PERSONA_RULES}\n{_catalogue_text(catalogue)}"
        if kind is Kind.GENERATE:
            asked = f"Name: {context.persona.name}\nBrief: {user_input}"
        else:
            system = f"{system}\n{_REFINE_RULES}\n{_persona_text(context.persona)}"
            asked = user_input
    return [
        {"role": "system", "content": system},
        *history,
        {"role": "user", "content": asked},
    ]


def asked_of(claimed: Claimed, context: Context) -> Asked:
    """What an application's kind makes its prompt of."""
    return Asked(
        generation_id=claimed.id,
        owner=claimed.owner,
        conversation_id=claimed.conversation_id,
        input=claimed.input,
        history=context.history,
    )


def _catalogue_text(catalogue: Catalogue) -> str:
    lines = (f"- {skill.id}: {skill.description}" for skill in catalogue.skills)
    return "# Skill catalogue\n\n" + "\n".join(lines) + "\n"


def _persona_text(persona: PersonaRow) -> str:
    parts = [f"# The persona\n\nName: {persona.name}\nBrief: {persona.brief}\n"]
    parts.append("Skills: " + (", ".join(persona.skills) or "none") + "\n")
    for path, content in persona.files.items():
        parts.append(f'<file path="{path}">\n{content}\n</file>\n')
    return "\n".join(parts)
