"""What a request for a response asks for, as a generation: the last user message's text.

The history is the relay's own, so other input items are not looked at; nor are parameters that
only shape the model. What would change the meaning of the answer is refused by name.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from jobs.clean import unacceptable
from jobs.generation import Kind
from jobs.kinds import Kinds
from relay.bodies import MAX_INPUT_CHARACTERS, ModelName
from relay.errors import InvalidField

MAX_METADATA = 16
_KIND, _PERSONA, _NAME = "relay_kind", "relay_persona_id", "relay_name"


class CreateResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /openai/v1/responses`; fields that are not here are ignored."""

    input: Any
    model: ModelName | None = None
    background: bool | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    text: dict[str, Any] | None = None
    tool_choice: Any = None
    conversation: Any = None
    prompt: Any = None

    def __post_init__(self) -> None:
        if self.conversation is not None:
            raise InvalidField("conversation", "is not offered here: use previous_response_id")
        if self.prompt is not None:
            raise InvalidField("prompt", "stored prompts are not offered here")
        if self.tool_choice not in (None, "auto", "none"):
            raise InvalidField("tool_choice", "no tool of the caller's can be called here")
        if _text_format(self.text) not in (None, "text"):
            raise InvalidField("text.format", "only plain text is offered here")
        for name, value in (self.metadata or {}).items():
            if unacceptable(name) or unacceptable(value) or len(name) > 64 or len(value) > 512:
                raise InvalidField("metadata", "has a name over 64 or a value over 512 characters")
        if len(self.metadata or {}) > MAX_METADATA:
            raise InvalidField("metadata", f"has more than {MAX_METADATA} entries")


class PersonaWish(msgspec.Struct, frozen=True):
    """Which persona a request is about, if any: its metadata says so."""

    kind: Kind
    persona_id: str | None
    name: str | None


def persona_wish(metadata: Mapping[str, str], kinds: Kinds) -> PersonaWish:
    """What the metadata `relay_kind`, `relay_persona_id` and `relay_name` ask for."""
    kind = metadata.get(_KIND, Kind.CHAT)
    if kind not in kinds.names:
        raise InvalidField("metadata", f"{_KIND} must be one of {', '.join(kinds.names)}")
    return PersonaWish(Kind(kind), metadata.get(_PERSONA), metadata.get(_NAME))


def said(value: Any) -> str:
    """The text of the last user message of this `input`; raises InvalidField without one."""
    text = value if isinstance(value, str) else _last_user_text(value)
    if not text.strip():
        raise InvalidField("input", "has no user message with text")
    if len(text) > MAX_INPUT_CHARACTERS:
        raise InvalidField("input", f"is longer than {MAX_INPUT_CHARACTERS} characters")
    if reason := unacceptable(text):
        raise InvalidField("input", reason)
    return text


def starting_after(request: Request) -> int:
    """The number of the last event that was received; -1 for none."""
    given = request.query_params.get("starting_after")
    if given is None:
        return -1
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise InvalidField("starting_after", "must be a sequence number")
    return int(given)


def _last_user_text(value: Any) -> str:
    if not isinstance(value, list):
        raise InvalidField("input", "must be a text or a list of items")
    for item in reversed(value):
        if not isinstance(item, dict):
            raise InvalidField("input", "must be a list of items")
        if item.get("role") == "user" and item.get("type", "message") == "message":
            return _text_of(item.get("content"))
    return ""


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidField("input", "a message's content must be a text or a list of parts")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str) or part.get("type") not in ("input_text", "text"):
            raise InvalidField("input", "a user message may have parts of text only")
        texts.append(text)
    return "\n".join(texts)


def _text_format(text: Mapping[str, Any] | None) -> Any:
    wanted = (text or {}).get("format")
    return wanted.get("type") if isinstance(wanted, dict) else wanted
