"""A finished tool call read as what it proposes, or refused with the reason (protocol §6).

Reads the call alone; whether the persona can take the proposal, apply.py decides.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from persona_apply.errors import InvalidCall
from persona_apply.paths import check_path
from persona_apply.text import clean_text

MAX_ARGUMENTS_CHARACTERS: Final = 1_048_576
MAX_SKILL_NAME_CHARACTERS: Final = 200

WRITE_FILE: Final = "write_file"
DELETE_FILE: Final = "delete_file"
USE_SKILL: Final = "use_skill"

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    WRITE_FILE: ("path", "content"),
    DELETE_FILE: ("path",),
    USE_SKILL: ("name",),
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A finished call as the model sent it, unvalidated."""

    id: str
    name: str
    arguments: str
    """JSON text, if the model kept to the rules."""


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write or replace the file; the path is valid, the content clean."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete the file; the path is valid."""

    path: str


@dataclass(frozen=True, slots=True)
class UseSkill:
    """Take the skill that is meant by this name: not blank, 200 characters at most."""

    name: str


Proposal = WriteFile | DeleteFile | UseSkill


def parse_call(call: ToolCall) -> Proposal:
    """What the call proposes. Raises InvalidCall or InvalidPath.

    A raw line end or other control character inside a JSON string is taken as itself: models
    forget to escape them, and their meaning is plain. A key given twice is refused.
    """
    if call.name not in _ARGUMENTS:
        raise InvalidCall(
            "unknown_tool",
            f"There is no tool {json.dumps(call.name[:80])}; there are {', '.join(_ARGUMENTS)}.",
        )
    arguments = _read_arguments(call)
    if call.name == WRITE_FILE:
        return WriteFile(check_path(arguments["path"]), clean_text(arguments["content"]))
    if call.name == DELETE_FILE:
        return DeleteFile(check_path(arguments["path"]))
    return UseSkill(_check_skill_name(clean_text(arguments["name"]).strip()))


def _read_arguments(call: ToolCall) -> dict[str, str]:
    if len(call.arguments) > MAX_ARGUMENTS_CHARACTERS:
        raise InvalidCall(
            "too_large",
            f"The arguments have more than {MAX_ARGUMENTS_CHARACTERS} characters; write less.",
        )
    try:
        arguments = json.loads(call.arguments, strict=False, object_pairs_hook=_once_each)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise InvalidCall(
            "invalid_json",
            f"The arguments are no valid JSON: {what} at character {error.pos}. "
            "Send one complete JSON object.",
        ) from error
    except (ValueError, RecursionError) as error:
        # Nesting without end, numbers of thousands of digits: legal JSON that nobody means.
        raise InvalidCall("invalid_json", "The arguments are JSON that cannot be read.") from error
    if not isinstance(arguments, dict):
        raise InvalidCall("not_an_object", "The arguments must be one JSON object.")
    return _check_arguments(call.name, arguments)


def _check_arguments(tool: str, arguments: dict[str, Any]) -> dict[str, str]:
    wanted = _ARGUMENTS[tool]
    for key in wanted:
        if key not in arguments:
            raise InvalidCall("missing_argument", f"{tool} needs the argument {key}.")
        if not isinstance(arguments[key], str):
            raise InvalidCall("wrong_type", f"The argument {key} of {tool} must be a string.")
    for key in arguments:
        if key not in wanted:
            raise InvalidCall(
                "unknown_argument",
                f"{tool} has no argument {json.dumps(key[:80])}; it takes {', '.join(wanted)}.",
            )
    return arguments


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InvalidCall("duplicate_argument", "An argument is given twice; give it once.")
    return values


def _check_skill_name(name: str) -> str:
    if not name:
        raise InvalidCall("skill_name_empty", "The skill's name is blank.")
    if len(name) > MAX_SKILL_NAME_CHARACTERS:
        raise InvalidCall(
            "skill_name_too_long",
            f"The skill's name has {len(name)} characters; at most {MAX_SKILL_NAME_CHARACTERS}.",
        )
    return name
