"""What an application declares of a generation kind of its own, and the kinds a process knows.

`jobs/kinds_setting.py` finds them, relays ask `Kinds` what to take, workers run what is declared.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.errors import InvalidRequest, JobsError
from jobs.generation import KIND_NAME, Generation, Kind

BUILT_IN = frozenset(Kind)
OTHER = "other"
"""What figures call the kinds that a process does not know."""
MOST_KINDS = 32
"""A process knows at most so many of applications: each is a label of its figures."""


class KindUnknown(JobsError):
    """This process knows no such kind, so it neither runs one nor completes it; others may."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the kind {kind!r} is not known here: see RELAY_KINDS")
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt is made of: the user's input, and what was said before in the conversation.

    `history` has pairs of user and assistant text, oldest first, within RELAY_HISTORY_CHARACTERS.
    """

    generation_id: str
    owner: str
    conversation_id: str
    input: str
    history: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema of an object.

    `run` gets the arguments as the model wrote them, against no schema, and gives what the model is
    told. It runs once more in each attempt, and its time is the generation's. What it raises is
    logged, and the model is told that the call failed.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is told first, in chat-completions form, and what it may call."""

    messages: Sequence[dict[str, Any]]
    tools: Sequence[Tool] = ()


@dataclass(frozen=True, slots=True)
class Completed:
    """A generation as it completes, with the text that its turn keeps."""

    owner: str
    generation: Generation
    text: str


def anything(_: str) -> str | None:
    """Refuses no input."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomKind:
    """A kind of an application's own: in a conversation as a `chat` is, with no persona.

    `prompt` is called by the worker in each attempt. `refuses`, called by the relay, gives why an
    input can't be taken, None for one that can. `on_completed` is called in the transaction that
    commits the answer, under the fence: what it writes to the connection is stored with the turn
    or not at all, and so once. The transaction may run anew, so it does nothing else; it has five
    seconds, and what it raises makes the generation fail as `internal_error`.

    Raises ValueError for a name that is taken, or not 1 to 16 of a-z, 0-9 and _, a letter first.
    """

    name: str
    prompt: Callable[[Asked], Awaitable[Prompt]]
    refuses: Callable[[str], str | None] = anything
    on_completed: Callable[[AsyncConnection, Completed], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        if not KIND_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a name of 1 to 16 letters a-z, digits and _")
        if self.name in BUILT_IN or self.name == OTHER:
            raise ValueError(f"{self.name!r} is taken")


@dataclass(frozen=True, slots=True, init=False)
class Kinds:
    """The kinds that this process knows: the built-in ones, and those of applications by name.

    Raises ValueError for a name that is declared twice, and for too many.
    """

    custom: Mapping[str, CustomKind]

    def __init__(self, declared: Iterable[CustomKind] = ()) -> None:
        custom: dict[str, CustomKind] = {}
        for one in declared:
            if custom.setdefault(one.name, one) is not one:
                raise ValueError(f"{one.name!r} is declared twice")
        if len(custom) > MOST_KINDS:
            raise ValueError(f"has more than {MOST_KINDS} kinds")
        object.__setattr__(self, "custom", MappingProxyType(custom))

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the built-in ones first."""
        return (*(kind.value for kind in Kind), *self.custom)

    @property
    def write_with_answers(self) -> bool:
        """Whether any of them writes something of its own when it completes."""
        return any(one.on_completed is not None for one in self.custom.values())

    def label(self, kind: Kind) -> str:
        """What figures call it, one of a bounded number."""
        return kind.value if self.knows(kind) else OTHER

    def knows(self, kind: Kind) -> bool:
        """Whether a generation of this kind can be asked for and run here."""
        return kind in BUILT_IN or kind.value in self.custom

    def refuse_unknown(self, kind: Kind, field: str = "kind") -> None:
        """Raises InvalidRequest with this field for a kind that is not known here."""
        if not self.knows(kind):
            reason = f"the kind {kind.value!r} is not known here: one of {', '.join(self.names)}"
            raise InvalidRequest(field, reason)

    def refuse_unfit(self, kind: Kind, input: str) -> None:
        """Raises InvalidRequest for a kind that is not known, or an input that it refuses."""
        self.refuse_unknown(kind)
        custom = self.custom.get(kind.value)
        if custom is not None and (reason := custom.refuses(input)) is not None:
            raise InvalidRequest("input", reason)


NO_OTHERS = Kinds()
"""The built-in ones alone."""
