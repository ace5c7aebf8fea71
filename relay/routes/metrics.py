"""Prometheus's door: the figures of this relay and of the whole system, for admins."""

from starlette.responses import Response

from jobs.exposition import CONTENT_TYPE, expose
from relay.metrics import relay_families
from relay.routes.operation import Answer, Call, Operation


async def scrape(call: Call) -> Response:
    """The figures in Prometheus's text format."""
    figures = await call.services.figures.figures()
    body = expose(relay_families(call.services, figures))
    return Response(body, headers={"Content-Type": CONTENT_TYPE})


OPERATIONS = (
    Operation(
        "GET",
        "/metrics",
        scrape,
        "Figures for Prometheus",
        "admin",
        {200: (Answer("Prometheus's text format", str, "text/plain"),)},
    ),
)
"""The scrape."""
