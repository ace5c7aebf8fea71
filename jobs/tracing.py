"""Traces of a generation, from its request to its commit; nothing at all unless they are exported.

The rest of the project knows this file alone: a span is opened with `traces.span(…)`, and within it
`here()` is that span, in whatever task was started there. Without an exporter every span is the
same empty one, and OpenTelemetry is not imported: `jobs/trace_export.py` decides that, and
`jobs/otel.py` makes the real ones.

A span's place is a W3C `traceparent`, which is stored with the generation: so a trace goes on in
whichever worker claims it, also if Redis lost everything in between.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, Protocol

Attributes = Mapping[str, str | int | float | bool]
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]


class Span(Protocol):
    """One piece of work in a trace; `end` again does nothing."""

    @property
    def traceparent(self) -> str | None:
        """Its place in the trace, for whoever goes on with it elsewhere; None when not traced."""

    def child(
        self, name: str, kind: SpanKind = "internal", attributes: Attributes | None = None
    ) -> "AbstractContextManager[Span]":
        """A part of this work."""

    def set(self, attributes: Attributes) -> None:
        """Says more of it."""

    def note(self, event: str) -> None:
        """Marks a moment in it."""

    def fail(self, reason: str) -> None:
        """Says that it did not go well; an exception that leaves its block says so by itself."""

    def end(self) -> None:
        """Ends it before its block does."""


class Traces(Protocol):
    """Where spans come from."""

    def span(
        self,
        name: str,
        parent: str | None,
        kind: SpanKind = "internal",
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """A span below this `traceparent`, or the root of a trace without a readable one."""

    def past(self, name: str, parent: str | None, began_ms: int, ended_ms: int) -> None:
        """A span that is over already; times are milliseconds since the epoch."""


class NoSpan:
    """What is not traced."""

    traceparent = None

    def child(
        self, name: str, kind: SpanKind = "internal", attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        """This one again."""
        return self

    def set(self, attributes: Attributes) -> None:
        """Does nothing."""

    def note(self, event: str) -> None:
        """Does nothing."""

    def fail(self, reason: str) -> None:
        """Does nothing."""

    def end(self) -> None:
        """Does nothing."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


NO_SPAN = NoSpan()


class NoTraces:
    """Nobody wants any."""

    def span(
        self,
        name: str,
        parent: str | None,
        kind: SpanKind = "internal",
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """The empty one."""
        return NO_SPAN

    def past(self, name: str, parent: str | None, began_ms: int, ended_ms: int) -> None:
        """Does nothing."""


NO_TRACES = NoTraces()

CURRENT: ContextVar[Span] = ContextVar("span", default=NO_SPAN)


def here() -> Span:
    """The span of the block that this runs in."""
    return CURRENT.get()
