"""Traces are off, and cost no import, unless OpenTelemetry's own variables ask for them."""

import subprocess
import sys

import pytest

from jobs.settings import InvalidSetting
from jobs.trace_export import exporter_variable, open_traces
from jobs.tracing import NO_SPAN, NO_TRACES, here

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
OF_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: "http://c"}, ENDPOINT),
        ({OF_TRACES: "http://c/v1/traces", ENDPOINT: "http://d"}, OF_TRACES),
        ({EXPORTER: "otlp"}, EXPORTER),
        ({EXPORTER: "none", ENDPOINT: "http://c"}, None),
        ({"OTEL_SDK_DISABLED": "true", ENDPOINT: "http://c"}, None),
        ({ENDPOINT: "http://c", PROTOCOL: "http/protobuf"}, ENDPOINT),
    ],
)
def test_an_exporter_is_asked_for_by_the_standard_variables(
    environment: dict[str, str], variable: str | None
) -> None:
    assert exporter_variable(environment) == variable


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({EXPORTER: "zipkin"}, EXPORTER),
        ({ENDPOINT: "http://c", PROTOCOL: "grpc"}, PROTOCOL),
        ({ENDPOINT: "collector:4318"}, ENDPOINT),
    ],
)
def test_what_is_not_served_here_is_refused_by_name(
    environment: dict[str, str], variable: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        exporter_variable(environment)
    assert refused.value.variable == variable


async def test_without_an_exporter_every_span_is_the_same_empty_one() -> None:
    async with open_traces("test", {}) as traces:
        assert traces is NO_TRACES
        with traces.span("work", None) as span, span.child("part") as part:
            assert span is part is here() is NO_SPAN
            assert part.traceparent is None


async def test_without_the_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jobs.otel", None)
    with pytest.raises(InvalidSetting, match=r"persona-relay\[otel\]") as refused:
        async with open_traces("test", {ENDPOINT: "http://c"}):
            pass
    assert refused.value.variable == ENDPOINT


def test_no_process_imports_opentelemetry_by_itself() -> None:
    code = (
        "import sys, jobs.worker, relay.server, relay.cli;"
        "sys.exit(' '.join(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
