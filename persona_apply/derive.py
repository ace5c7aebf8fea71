"""What follows from a persona's files and skills alone: system prompt, manifest, card.

A function of its input: the same persona and catalogue give the same bytes, whatever came before.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from persona_apply.markdown import first_heading, first_paragraph, one_line
from persona_apply.persona import Persona
from persona_apply.skills import Catalogue

MAIN_FILE: Final = "persona.md"
"""The file that says who the persona is; it comes first."""
_SUMMARY_CHARACTERS: Final = 280
_TITLE_CHARACTERS: Final = 120
_UNNAMED: Final = "Unnamed persona"


def derive(persona: Persona, catalogue: Catalogue) -> dict[str, Any]:
    """Derived content, fit for JSON, its keys always in the same order.

    `system_prompt`: text to give a model as its system message. `manifest`: every file's `path`,
    `bytes` and `sha256`, in the order of paths. `card`: `name`, `title`, `summary`, `tags` (skill
    ids in order of choice) and `counts` of `files`, `bytes` and `skills`. A skill that the
    catalogue no longer has stays a tag and gives no instructions.
    """
    manifest = [
        {"path": path, "bytes": len(content.encode()), "sha256": digest(content)}
        for path, content in persona.files.items()
    ]
    return {
        "system_prompt": _system_prompt(persona, catalogue),
        "manifest": manifest,
        "card": _card(persona),
    }


def digest(content: str) -> str:
    """The SHA-256 of the content's UTF-8, in hex."""
    return hashlib.sha256(content.encode()).hexdigest()


def _system_prompt(persona: Persona, catalogue: Catalogue) -> str:
    name = one_line(persona.name, _TITLE_CHARACTERS)
    opening = [f"You are {name}." if name else "You are the persona described below."]
    if persona.files:
        opening.append(
            "The files below define who you are, what you know and how you speak. Act on them in "
            "every answer; where two of them disagree, the earlier one counts."
        )
    sections = [" ".join(opening)]
    if persona.brief.strip():
        sections.append(f"# What you were made for\n\n{persona.brief.strip()}")
    if persona.files:
        sections.append("\n\n".join(["# Files", *_fenced_files(persona)]))
    skills = [skill for skill in map(catalogue.get, persona.skills) if skill]
    if skills:
        told = (f"## {skill.name}\n\n{skill.instructions}" for skill in skills)
        sections.append("\n\n".join(["# Skills", *told]))
    return "\n\n".join(sections) + "\n"


def _fenced_files(persona: Persona) -> Iterable[str]:
    for path in _reading_order(persona):
        content = persona.files[path]
        # A file that holds the closing tag itself must not end its own fence.
        tag = "file"
        while f"</{tag}" in content:
            tag += "-"
        yield f"<{tag} path={json.dumps(path, ensure_ascii=False)}>\n{content.rstrip()}\n</{tag}>"


def _card(persona: Persona) -> dict[str, Any]:
    order = _reading_order(persona)
    main = next((path for path in order if path.lower().endswith(".md")), order[0] if order else "")
    text = persona.files.get(main, "")
    name = one_line(persona.name, _TITLE_CHARACTERS)
    return {
        "name": name or _UNNAMED,
        "title": one_line(first_heading(text), _TITLE_CHARACTERS) or name or _UNNAMED,
        "summary": one_line(first_paragraph(text) or persona.brief, _SUMMARY_CHARACTERS),
        "tags": list(persona.skills),
        "counts": {
            "files": len(persona.files),
            "bytes": sum(len(content.encode()) for content in persona.files.values()),
            "skills": len(persona.skills),
        },
    }


def _reading_order(persona: Persona) -> list[str]:
    return sorted(persona.files, key=lambda path: (path != MAIN_FILE, path))
