"""A persona as one attempt's tool calls change it: valid after every call, compared at the end.

Generation and refinement alike take their calls through a Draft; nothing else changes a persona.
"""

from dataclasses import dataclass, replace
from typing import Any

from persona_apply.derive import derive, digest
from persona_apply.errors import InvalidPersona, PersonaError
from persona_apply.outcome import FileDeleted, FileWritten, Outcome, Refused, SkillChosen
from persona_apply.paths import show_path
from persona_apply.persona import Persona
from persona_apply.proposal import DeleteFile, ToolCall, UseSkill, WriteFile, parse_call
from persona_apply.skills import Catalogue


@dataclass(frozen=True, slots=True)
class Changes:
    """How the next persona differs from the one that the attempt began with."""

    persona: Persona
    """The next one, whole."""
    written: tuple[str, ...]
    """Paths of new or different content, in order."""
    deleted: tuple[str, ...]
    """Paths that are gone, in order."""
    skills_added: tuple[str, ...]
    """Catalogue ids, in the order of choice."""
    derived: dict[str, Any]
    """Of the next persona, see `derive`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A persona under change: `take` each call, then ask for the `changes`."""

    base: Persona
    """As the attempt found it."""
    persona: Persona
    """As the calls taken so far leave it."""
    catalogue: Catalogue

    @classmethod
    def of(cls, persona: Persona, catalogue: Catalogue) -> "Draft":
        """A draft in which nothing has changed yet."""
        return cls(base=persona, persona=persona, catalogue=catalogue)

    def take(self, call: ToolCall) -> tuple["Draft", Outcome]:
        """The draft with the call applied and what became of it; refused, the same draft."""
        try:
            match parse_call(call):
                case WriteFile(path=path, content=content):
                    return self._write(path, content)
                case DeleteFile(path=path):
                    return self._delete(path)
                case UseSkill(name=name):
                    return self._choose(name)
        except PersonaError as refusal:
            return self, Refused(refusal.code, refusal.message)

    def changes(self) -> Changes | None:
        """What changed in effect, or None.

        A file rewritten with the content that it had, written and deleted again, or a skill that
        the persona had already, is no change.
        """
        before, after = self.base, self.persona
        if before == after:
            return None
        return Changes(
            persona=after,
            written=tuple(
                path for path, content in after.files.items() if before.files.get(path) != content
            ),
            deleted=tuple(path for path in before.files if path not in after.files),
            skills_added=tuple(skill for skill in after.skills if skill not in before.skills),
            derived=derive(after, self.catalogue),
        )

    def _write(self, path: str, content: str) -> tuple["Draft", Outcome]:
        draft = self._with(replace(self.persona, files={**self.persona.files, path: content}))
        return draft, FileWritten(path, len(content.encode()), digest(content))

    def _delete(self, path: str) -> tuple["Draft", Outcome]:
        files = dict(self.persona.files)
        content = files.pop(path, None)
        if content is None:
            raise InvalidPersona("file_absent", f"There is no file {show_path(path)} to delete.")
        draft = self._with(replace(self.persona, files=files))
        return draft, FileDeleted(path, len(content.encode()), digest(content))

    def _choose(self, name: str) -> tuple["Draft", Outcome]:
        match = self.catalogue.match(name)
        if match.skill is None:
            return self, SkillChosen(name, None, match.score, match.closest)
        chosen = SkillChosen(name, match.skill.id, match.score, match.closest)
        if match.skill.id in self.persona.skills:
            return self, chosen
        skills = (*self.persona.skills, match.skill.id)
        return self._with(replace(self.persona, skills=skills)), chosen

    def _with(self, persona: Persona) -> "Draft":
        return replace(self, persona=persona)
