"""What a generation is: its kinds, its states, and the resource that every reader is shown."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

KIND_NAME = re.compile(r"[a-z][a-z0-9_]{0,15}", re.ASCII)
"""What a kind may be called, an application's own too."""


class Kind(StrEnum):
    """What a generation is for: the built-in kinds, and any well-formed name of another.

    Whether another one is known here is for `jobs.kinds.Kinds` to say; its row can be read anyway.
    """

    CHAT = "chat"
    """Answers in a conversation."""
    GENERATE = "generate"
    """Makes a persona from a brief."""
    REFINE = "refine"
    """Continues a persona's conversation: answers, or changes files and skills, or both."""

    @classmethod
    def _missing_(cls, value: object) -> "Kind | None":
        if not isinstance(value, str) or not KIND_NAME.fullmatch(value):
            return None
        # No member, and kept nowhere: names come from requests, so memory would grow with them.
        other = str.__new__(cls, value)
        other._name_ = value.upper()
        other._value_ = value
        return other


class State(StrEnum):
    """Where a generation is; the last four never change again (protocol §1)."""

    QUEUED = "queued"
    """Stored, not yet claimed."""
    RUNNING = "running"
    """Claimed; stays so when its worker is lost, until it is claimed anew."""
    COMPLETED = "completed"
    """The answer is committed."""
    FAILED = "failed"
    """Ended with a reason; what text there was is kept as a partial turn."""
    CANCELLED = "cancelled"
    """Stopped by request; what text there was is kept as a partial turn."""
    EXPIRED = "expired"
    """Not started in time, and never will be."""

    @property
    def terminal(self) -> bool:
        """Whether nothing can change it any more."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED})

OnActive = Literal["reject", "queue", "interrupt"]


class FileChange(msgspec.Struct, frozen=True):
    """A file of the result: what was done to it, its size in bytes and its SHA-256 in hex."""

    path: str
    op: Literal["write", "delete"]
    bytes: int
    sha256: str


class SkillChoice(msgspec.Struct, frozen=True):
    """A skill that the model asked for, and what the catalogue had; `score` is 0 to 1."""

    requested: str
    matched: str | None
    score: float


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a generation gave. `text` is left out where a stream has carried it."""

    characters: int
    finish_reason: str | None
    persona_version: int | None
    files: tuple[FileChange, ...]
    skills: tuple[SkillChoice, ...]
    text: str | msgspec.UnsetType = msgspec.UNSET


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the model counted, summed over the rounds."""

    input_tokens: int
    output_tokens: int


class Failure(msgspec.Struct, frozen=True):
    """Why a generation did not complete; `retryable` says whether trying again may help."""

    code: str
    message: str
    retryable: bool


class Generation(msgspec.Struct, frozen=True):
    """The resource of protocol §4, as answered to a reader and carried by terminal events."""

    id: str
    kind: Kind
    state: State
    attempt: int
    model: str
    conversation_id: str
    persona_id: str | None
    input: str
    output: Output | None
    usage: Usage | None
    error: Failure | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str
    events_url: str

    def without_text(self) -> "Generation":
        """The same without `output.text`, as terminal events carry it (protocol §5)."""
        if self.output is None:
            return self
        return msgspec.structs.replace(
            self, output=msgspec.structs.replace(self.output, text=msgspec.UNSET)
        )


def events_url(generation_id: str) -> str:
    """The path of its events from the API's root."""
    return f"/v1/generations/{generation_id}/events"


def rfc3339(milliseconds: int) -> str:
    """A time in milliseconds since the epoch as RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_ENCODER = msgspec.json.Encoder()
_LINE_ENDS = tuple(
    (character.encode(), b"\\u%04x" % ord(character)) for character in "\x85\u2028\u2029"
)


def encode(value: Any) -> bytes:
    """JSON as this project writes it everywhere: UTF-8, compact, fields in declared order.

    One line by any rule: the line ends of Unicode are escaped too, at which some libraries cut a
    stream that they read as text.
    """
    document = _ENCODER.encode(value)
    if not document.isascii():
        for character, escaped in _LINE_ENDS:
            if character in document:
                document = document.replace(character, escaped)
    return document
