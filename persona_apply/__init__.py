"""Who decides: validates what a model proposes and applies it to a persona. Pure."""

from persona_apply.apply import Changes, Draft
from persona_apply.assembler import MAX_CALLS, FilePreview, ToolCallAssembler
from persona_apply.derive import derive, digest
from persona_apply.errors import (
    REFUSAL_CODES,
    InvalidCall,
    InvalidCatalogue,
    InvalidPath,
    InvalidPersona,
    PersonaError,
)
from persona_apply.outcome import FileDeleted, FileWritten, Outcome, Refused, SkillChosen, answer
from persona_apply.paths import MAX_PATH_CHARACTERS, check_path
from persona_apply.persona import MAX_FILES, MAX_SKILLS, MAX_TOTAL_BYTES, Persona
from persona_apply.proposal import MAX_ARGUMENTS_CHARACTERS, ToolCall
from persona_apply.skill import Skill
from persona_apply.skills import Catalogue, Match
from persona_apply.text import TextJoiner, clean_text
from persona_apply.tools import TOOLS, tools_for

__all__ = [
    "MAX_ARGUMENTS_CHARACTERS",
    "MAX_CALLS",
    "MAX_FILES",
    "MAX_PATH_CHARACTERS",
    "MAX_SKILLS",
    "MAX_TOTAL_BYTES",
    "REFUSAL_CODES",
    "TOOLS",
    "Catalogue",
    "Changes",
    "Draft",
    "FileDeleted",
    "FilePreview",
    "FileWritten",
    "InvalidCall",
    "InvalidCatalogue",
    "InvalidPath",
    "InvalidPersona",
    "Match",
    "Outcome",
    "Persona",
    "PersonaError",
    "Refused",
    "Skill",
    "SkillChosen",
    "TextJoiner",
    "ToolCall",
    "ToolCallAssembler",
    "answer",
    "check_path",
    "clean_text",
    "derive",
    "digest",
    "tools_for",
]
