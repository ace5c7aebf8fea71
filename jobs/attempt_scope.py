"""What is logged and traced within an attempt says whose it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from jobs.store.claims import Claimed
from jobs.tracing import Attributes, Traces


@contextmanager
def attempt_scope(traces: Traces, claimed: Claimed) -> Iterator[None]:
    """Its ids on every log line, and its span in the trace that its request began."""
    if claimed.reset is None:
        traces.past("queue", claimed.traceparent, claimed.created_at, claimed.started_at)
    attributes: Attributes = {
        "relay.generation": claimed.id,
        "relay.attempt": claimed.attempt,
        "relay.kind": claimed.kind.value,
        "relay.after": claimed.reset or "queued",
    }
    with (
        bound_contextvars(generation=claimed.id, attempt=claimed.attempt),
        traces.span("attempt", claimed.traceparent, "consumer", attributes),
    ):
        yield
