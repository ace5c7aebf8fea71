"""What the event streams carry: each event by its name, with the type of its data (protocol §5)."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from jobs.deleted import Deletion
from jobs.events import (
    Ended,
    FileDelta,
    Heartbeat,
    Idle,
    Notice,
    Reset,
    Status,
    Token,
)
from jobs.generation import FileChange, Generation, SkillChoice
from relay.ops_feed import SystemFigures


class Snapshot(msgspec.Struct, frozen=True):
    """`snapshot`: all generations that have not ended, without their text."""

    generations: tuple[Generation, ...]


class Nothing(msgspec.Struct, frozen=True):
    """`heartbeat` of the feed: it is still there."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A kind of stream: its name in the OpenAPI document, its events, and those that have an id."""

    name: str
    events: Mapping[str, type[msgspec.Struct]]
    numbered: frozenset[str] = frozenset()


_LOGGED: Mapping[str, type[msgspec.Struct]] = {
    "status": Status,
    "token": Token,
    "file_delta": FileDelta,
    "file": FileChange,
    "skill": SkillChoice,
    "notice": Notice,
    "reset": Reset,
    "completed": Ended,
    "failed": Ended,
    "cancelled": Ended,
    "expired": Ended,
}

GENERATION_STREAM = Stream(
    "GenerationEvent", {**_LOGGED, "heartbeat": Heartbeat, "idle": Idle}, frozenset(_LOGGED)
)
"""The events of one generation."""

FEED_STREAM = Stream(
    "FeedEvent",
    {
        "snapshot": Snapshot,
        "generation": Generation,
        "deleted": Deletion,
        "heartbeat": Nothing,
    },
)
"""The changes of all generations of an owner."""

FIGURES_STREAM = Stream("FiguresEvent", {"figures": SystemFigures})
"""How the whole system stands."""
