"""Spans that OpenTelemetry exports over OTLP; the one file that knows it, and imported on demand.

Exporting is done by the SDK's own thread from a bounded queue: a collector that is away or slow
costs the spans, and delays nothing. Samplers, limits, headers and resource attributes are the SDK's
own `OTEL_…` variables.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import Token
from importlib.metadata import version
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.tracing import CURRENT, Attributes, Span, SpanKind

CLOSE_SECONDS = 2.0
"""How long what is left may take to be exported when the process ends."""

_W3C = TraceContextTextMapPropagator()
_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


class OtelSpan:
    """A span that is `here()` for as long as its block runs."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._token: Token[Span] | None = None

    @property
    def traceparent(self) -> str | None:
        """Its place, with whether it is sampled."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get("traceparent")

    def child(
        self, name: str, kind: SpanKind = "internal", attributes: Attributes | None = None
    ) -> AbstractContextManager[Span]:
        """A part of this work."""
        within = trace.set_span_in_context(self._span, Context())
        return _started(self._tracer, name, within, kind, attributes)

    def set(self, attributes: Attributes) -> None:
        """Says more of it."""
        self._span.set_attributes(attributes)

    def note(self, event: str) -> None:
        """Marks a moment in it."""
        self._span.add_event(event)

    def fail(self, reason: str) -> None:
        """Says that it did not go well."""
        self._span.set_status(trace.StatusCode.ERROR, reason)

    def end(self) -> None:
        """Ends it; again does nothing."""
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        if isinstance(error, asyncio.CancelledError):
            self.set({"relay.cancelled": True})
        elif error is not None:
            # Its code or kind alone: a text may hold what a user or a model wrote.
            self.fail(str(getattr(error, "code", type(error).__name__)))
        self.end()


class OtelTraces:
    """Spans of one process."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def span(
        self,
        name: str,
        parent: str | None,
        kind: SpanKind = "internal",
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """A span below this `traceparent`, or the root of a trace."""
        return _started(self._tracer, name, _context(parent), kind, attributes)

    def past(self, name: str, parent: str | None, began_ms: int, ended_ms: int) -> None:
        """A span that is over already."""
        span = self._tracer.start_span(name, _context(parent), start_time=began_ms * 1_000_000)
        span.end(max(began_ms, ended_ms) * 1_000_000)


def _started(
    tracer: trace.Tracer,
    name: str,
    within: Context,
    kind: SpanKind,
    attributes: Attributes | None,
) -> OtelSpan:
    return OtelSpan(tracer, tracer.start_span(name, within, _KINDS[kind], attributes))


def _context(traceparent: str | None) -> Context:
    # An empty context is no parent, whatever the process that embeds this has as its current one.
    return _W3C.extract({"traceparent": traceparent} if traceparent else {}, Context())


@asynccontextmanager
async def exported_traces(service: str) -> AsyncIterator[OtelTraces]:
    """Traces that are exported until the block ends, and for CLOSE_SECONDS more at most."""
    own = Resource({SERVICE_NAME: service, SERVICE_VERSION: version("persona-relay")})
    provider = TracerProvider(
        # The environment's own names come last, so that they hold.
        resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield OtelTraces(provider.get_tracer("persona-relay", version("persona-relay")))
    finally:
        # A thread that the process need not wait for, should the collector be away.
        closing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)
