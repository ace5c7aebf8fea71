"""What became of one tool call, and the short answer that the model reads."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FileWritten:
    """The file was validated and is part of the draft."""

    path: str
    bytes: int
    """Of the content in UTF-8."""
    sha256: str
    """Of the same bytes, in hex."""


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """The file is gone from the draft; bytes and sha256 are of the content that was deleted."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SkillChosen:
    """A skill was asked for; one that the catalogue has is part of the draft, once."""

    requested: str
    matched: str | None
    """The skill's id; None when the catalogue has none, and the draft is as before."""
    score: float
    """0 to 1; 1 = one of the skill's own names."""
    closest: tuple[str, ...] = field(default=(), compare=False)
    """Ids to propose to the model, closest first."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was left out, and the draft is as before."""

    code: str
    """One of REFUSAL_CODES."""
    message: str
    """The reason, and how to mend it."""


Outcome = FileWritten | FileDeleted | SkillChosen | Refused


def answer(outcome: Outcome) -> str:
    """The result of the call as the model is told it: one JSON object with `ok`."""
    return json.dumps(_told(outcome), ensure_ascii=False)


def _told(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case FileWritten():
            return {"ok": True, "written": outcome.path, "bytes": outcome.bytes}
        case FileDeleted():
            return {"ok": True, "deleted": outcome.path}
        case SkillChosen(matched=str()):
            return {"ok": True, "skill": outcome.matched}
        case SkillChosen():
            return {
                "ok": False,
                "code": "skill_unknown",
                "message": "The catalogue has no skill that is clearly meant by this name. "
                "Ask for one by its id, or go on without.",
                "closest": list(outcome.closest),
            }
        case Refused():
            return {"ok": False, "code": outcome.code, "message": outcome.message}
