"""What a run keeps for its judgement: what was asked, what was done to it, what became of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.chaos.changes import Change, Claim, claims_of
from tests.chaos.reader import TERMINAL, Reader
from tests.chaos.sdk_reader import SdkReader
from tests.relay.heard import Heard

_END = float("inf")

Told = Iterable[tuple[str, str]]
"""Rules that are broken, each with why it is thought so."""
OnActive = Literal["reject", "queue", "interrupt"]
Loss = Literal["killed", "stopped", "silent"]
"""How a worker is lost: it died, it was told to end, or nobody heard of it for a lease."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One fault as it took place: when (monotonic), what it hit, and what it may excuse."""

    fault: str
    began: float
    ended: float
    in_flight: int
    evidence: str
    workers: frozenset[str] | None = None
    """The ids of the workers that it hit; None where it hit whatever all of them need."""
    loss: Loss | None = None
    """How it lost those workers, if it did."""
    deafens: bool = False
    """Whether they could not hear of a cancellation meanwhile."""
    loses_data: bool = False
    cuts_model: bool = False

    def hit(self, worker_id: str) -> bool:
        """Whether this worker was among those that it hit."""
        return self.workers is None or worker_id in self.workers


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancellation that a relay has answered: when, and the state that the answer told."""

    answered_at: float
    state: str


@dataclass(slots=True)
class Asked:
    """One accepted generation: what was asked, and what may become of it."""

    id: str
    model: str
    at: float
    text: str | None = None
    """The whole answer where the script fixes it."""
    fails_with: frozenset[str] = frozenset()
    """Error codes that its script leads to; it must not complete then."""
    cancelled: bool = False
    """Whether anybody asked for its cancellation, answered or not."""
    cancels: list[Cancel] = field(default_factory=list)
    tokens: int | None = None
    """What the model counts for the whole answer where the script fixes it."""
    makes_persona: bool = False
    conversation_id: str = ""
    on_active: OnActive = "reject"
    """What it wanted should another one of its conversation be active."""
    restartable: bool = True
    """False where its protocol knows no reset: what was begun is lost with its worker."""
    readers: list[Reader] = field(default_factory=list)
    sdk_readers: list[SdkReader] = field(default_factory=list)

    @property
    def heard_end_at(self) -> float:
        """When the first reader heard of its end: it had ended by then."""
        return min((one.end.at for one in self.readers if one.end is not None), default=_END)


@dataclass(frozen=True, slots=True)
class Truth:
    """What the system says of it once everything is over."""

    resource: dict[str, Any]
    turns: list[tuple[str, str, bool]]
    from_log: list[Heard]
    """What a new reader is told."""
    from_sql: list[Heard]
    """What a new reader is told when Redis holds nothing."""
    by_sdk: tuple[list[Any], ...] = ()
    """Of a response, what a new reader through the SDK is told, in both cases."""
    changes: tuple[Change, ...] = ()
    """How its row came to be what it is."""

    @property
    def state(self) -> str:
        """The terminal state, or what it is stuck in."""
        return str(self.resource["state"])

    @property
    def text(self) -> str:
        """The committed text; empty where there is no turn."""
        return "".join(text for role, text, _ in self.turns if role == "assistant")

    @property
    def claims(self) -> list[Claim]:
        """Its attempts: who held each, and from when on."""
        return claims_of(self.changes)

    @property
    def ended_at(self) -> float:
        """When its end was committed."""
        return next((one.at for one in self.changes if one.state in TERMINAL), _END)


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold of a generation, and why it is thought so."""

    rule: str
    generation_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}\n  generation {self.generation_id}\n  {self.detail}"
