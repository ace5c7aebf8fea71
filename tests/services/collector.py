"""An OTLP collector: takes what is exported over HTTP, and holds the spans."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.services.live_server import live_server
from tests.services.waiting import eventually


@dataclass(frozen=True, slots=True)
class Heard:
    """One span as it came over the wire; times are in nanoseconds."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    events: tuple[str, ...]


@dataclass(slots=True)
class Collector:
    """Where to export to, and what came."""

    url: str = ""
    spans: list[Heard] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Heard]:
        """The spans of this name, in the order of their beginning."""
        return sorted((one for one in self.spans if one.name == name), key=lambda one: one.began)

    def one(self, name: str) -> Heard:
        """The only span of this name."""
        [found] = self.named(name)
        return found

    async def has(self, *names: str, within: float = 10.0) -> None:
        """Returns once a span of each name has come."""
        await eventually(lambda: {*names} <= {one.name for one in self.spans}, within=within)

    async def take(self, request: Request) -> Response:
        """One export."""
        message = ExportTraceServiceRequest.FromString(await request.body())
        self.headers.append(dict(request.headers))
        for group in message.resource_spans:
            service = _values(group.resource.attributes)["service.name"]
            for scope in group.scope_spans:
                self.spans += [_heard(service, span) for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        return Response(body, media_type="application/x-protobuf")


def _heard(service: str, span: Any) -> Heard:
    return Heard(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        failed=span.status.code == 2,
        attributes=_values(span.attributes),
        events=tuple(event.name for event in span.events),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector until the block ends."""
    collector = Collector()
    app = Starlette(routes=[Route("/v1/traces", collector.take, methods=["POST"])])
    async with live_server(app) as collector.url:
        yield collector
