"""Whether traces are exported: as OpenTelemetry's own variables say, and else not at all."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from jobs.settings import InvalidSetting
from jobs.tracing import NO_TRACES, Traces

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"

Exporter = Callable[[str], AbstractAsyncContextManager[Traces]]


@asynccontextmanager
async def open_traces(
    service: str, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Traces]:
    """Traces until the block ends, exported as OpenTelemetry's own variables say.

    On with `OTEL_EXPORTER_OTLP_ENDPOINT` (or the one for traces), or `OTEL_TRACES_EXPORTER=otlp`;
    `service` is their name unless `OTEL_SERVICE_NAME` gives another. Raises InvalidSetting as
    `exporter` does.
    """
    exported = exporter(environment)
    if exported is None:
        yield NO_TRACES
    else:
        async with exported(service) as traces:
            yield traces


def exporter(environment: Mapping[str, str] = os.environ) -> Exporter | None:
    """What exports traces under the name of a service; None when none is asked for.

    Raises InvalidSetting for an exporter, an address or a protocol that is not served here, and
    where the extra `otel` is not installed.
    """
    variable = exporter_variable(environment)
    if variable is None:
        return None
    try:
        from jobs.otel import exported_traces
    except ImportError:
        raise InvalidSetting(
            variable, "needs the extra `otel`: pip install 'persona-relay[otel]'"
        ) from None
    return exported_traces


def exporter_variable(environment: Mapping[str, str]) -> str | None:
    """The variable that asks for an exporter; None when none does. Raises InvalidSetting."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "none", "otlp"):
        raise InvalidSetting("OTEL_TRACES_EXPORTER", "is neither `otlp` nor `none`")
    asking = next((name for name in ENDPOINTS if environment.get(name)), None)
    if exporter == "none" or (exporter == "" and asking is None):
        return None
    if asking is not None and not environment[asking].lower().startswith(("http://", "https://")):
        raise InvalidSetting(asking, "is no http:// or https:// address")
    for name in PROTOCOLS:
        if environment.get(name, HTTP) not in ("", HTTP):
            raise InvalidSetting(name, f"is not {HTTP}, the one protocol that is spoken here")
    return asking or "OTEL_TRACES_EXPORTER"
