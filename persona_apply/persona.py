"""A persona as a value: whoever holds one knows that its paths, sizes and skills are valid."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from persona_apply.errors import InvalidPersona
from persona_apply.paths import check_path, check_together, show_path
from persona_apply.text import is_clean

MAX_FILES: Final = 64
MAX_TOTAL_BYTES: Final = 200_000
MAX_SKILLS: Final = 32


@dataclass(frozen=True, slots=True)
class Persona:
    """Name, brief, files and skills, valid from construction on (InvalidPersona otherwise).

    Holds at most 64 files, 200,000 bytes of UTF-8 together (protocol §6), and 32 skills.
    """

    name: str
    """What people call it; never identity, may be empty."""
    brief: str
    """What was asked for, in the words of whoever asked."""
    files: Mapping[str, str]
    """Path → content; read-only, in the order of the paths' code points."""
    skills: tuple[str, ...]
    """Catalogue ids in the order of choice, each once; may name a skill that was since retired."""

    def __post_init__(self) -> None:
        # A copy: the caller's dict may change later, this one may not.
        object.__setattr__(self, "files", MappingProxyType(dict(sorted(self.files.items()))))
        object.__setattr__(self, "skills", tuple(self.skills))
        _check_texts(self)
        _check_files(self.files)
        _check_skills(self.skills)


def _check_texts(persona: Persona) -> None:
    texts = {"name": persona.name, "brief": persona.brief, **persona.files}
    for place, text in texts.items():
        if not is_clean(text):
            raise InvalidPersona(
                "text_not_unicode", f"{show_path(place)} has a lone surrogate or U+0000 in it."
            )


def _check_files(files: Mapping[str, str]) -> None:
    for path in files:
        check_path(path)
    check_together(files)
    if len(files) > MAX_FILES:
        raise InvalidPersona(
            "too_many_files",
            f"That would make {len(files)} files; at most {MAX_FILES} are allowed. "
            "Join or delete some.",
        )
    total = sum(len(content.encode()) for content in files.values())
    if total > MAX_TOTAL_BYTES:
        raise InvalidPersona(
            "files_too_large",
            f"All files together would have {total} bytes; at most {MAX_TOTAL_BYTES} are allowed. "
            "Write less, or delete some.",
        )


def _check_skills(skills: tuple[str, ...]) -> None:
    if not all(skill.strip() and is_clean(skill) for skill in skills):
        raise InvalidPersona("skill_id_empty", "A skill's id is blank or no Unicode text.")
    if len(set(skills)) < len(skills):
        raise InvalidPersona("skill_duplicate", "A skill was chosen twice.")
    if len(skills) > MAX_SKILLS:
        raise InvalidPersona("too_many_skills", f"At most {MAX_SKILLS} skills are allowed.")
