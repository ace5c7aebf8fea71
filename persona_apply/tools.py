"""The tools that a model is offered, in the form of the chat-completions API (protocol §6)."""

from typing import Any, Final

from persona_apply.paths import MAX_PATH_CHARACTERS
from persona_apply.persona import MAX_FILES, MAX_TOTAL_BYTES
from persona_apply.proposal import DELETE_FILE, USE_SKILL, WRITE_FILE
from persona_apply.skills import Catalogue


def tools_for(catalogue: Catalogue) -> tuple[dict[str, Any], ...]:
    """The three tools; the one for skills names every id of the catalogue."""
    path = {
        "type": "string",
        "description": (
            "Relative path such as persona.md or examples/greeting.md: segments separated by /, "
            f"at most {MAX_PATH_CHARACTERS} characters, no . or .. segment, no backslash."
        ),
    }
    return (
        _tool(
            WRITE_FILE,
            "Write a file of the persona, whole: a file of the same path is replaced. "
            f"A persona holds at most {MAX_FILES} files and {MAX_TOTAL_BYTES} bytes together.",
            {
                "path": path,
                "content": {"type": "string", "description": "The whole text of the file."},
            },
        ),
        _tool(DELETE_FILE, "Delete a file of the persona.", {"path": path}),
        _tool(
            USE_SKILL,
            "Give the persona a skill of the catalogue. Its instructions become part of the "
            "persona's system prompt.",
            {
                "name": {
                    "type": "string",
                    "description": "One of: " + ", ".join(skill.id for skill in catalogue.skills),
                }
            },
        ),
    )


def _tool(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }


TOOLS: Final = tools_for(Catalogue.default())
"""The tools over the catalogue that ships with this package."""
