"""A trace follows a generation from its request to its commit, wherever it is run."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from jobs import otel
from jobs.generation import State
from jobs.trace_export import open_traces
from relay.app import create_app
from relay.settings import RelaySettings
from tests.jobs.at_work import Work, at_work
from tests.services import eventually, live_server
from tests.services.collector import Collector, collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that every process of the test exports to, soon."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@dataclass(slots=True)
class Traced:
    """A place of work with a relay before it."""

    work: Work
    relay: httpx.AsyncClient
    collector: Collector

    async def chat(self, model: str = "demo-fast-tokens-9", **query: str) -> str:
        """A chat that was asked for in the caller's trace; its id."""
        answer = await self.relay.post(
            "/v1/generations",
            params=query,
            json={"kind": "chat", "input": "Hello", "model": model},
            headers={"traceparent": TRACEPARENT},
        )
        return str(answer.raise_for_status().headers["location"].rpartition("/")[2])

    async def state(self, generation_id: str) -> str:
        """Its state now."""
        return str((await self.relay.get(f"/v1/generations/{generation_id}")).json()["state"])

    async def ended(self, generation_id: str) -> None:
        """Returns once it has ended."""

        async def is_over() -> bool:
            return State(await self.state(generation_id)).terminal

        await eventually(is_over, within=15)


@pytest.fixture
async def traced(
    redis_url: str, sqlite_url: str, tmp_path: Path, collector: Collector
) -> AsyncIterator[Traced]:
    """A relay, and a place for workers."""
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=1.0) as work:
        settings = RelaySettings(jobs=work.settings, relay_auth="off")
        async with (
            live_server(create_app(settings)) as url,
            httpx.AsyncClient(base_url=url, timeout=10) as relay,
        ):
            yield Traced(work, relay, collector)


async def test_one_trace_holds_the_request_the_queue_the_model_and_the_commit(
    traced: Traced,
) -> None:
    await traced.work.hire()
    generation_id = await traced.chat(stream="true")
    await traced.ended(generation_id)
    spans = traced.collector
    await spans.has("POST", "store", "enqueue", "queue", "attempt", "read context", "commit")
    assert {one.trace for one in spans.spans} == {TRACE}
    post, attempt = spans.one("POST"), spans.one("attempt")
    assert (post.parent, post.kind, post.service) == (CALLER, SERVER, "persona-relay")
    assert post.attributes["http.route"] == "/v1/generations"
    assert post.attributes["http.response.status_code"] == 200
    assert {spans.one(name).parent for name in ("store", "enqueue", "queue")} == {post.id}
    assert spans.one("enqueue").kind == PRODUCER
    assert (attempt.parent, attempt.kind) == (post.id, CONSUMER)
    assert attempt.service == "persona-relay-worker"
    assert attempt.attributes["relay.generation"] == generation_id
    assert attempt.attributes["relay.attempt"] == 1
    assert attempt.attributes["relay.outcome"] == "completed"
    model = spans.one("chat demo-fast-tokens-9")
    within = [spans.one("read context"), model, spans.one("commit")]
    assert {one.parent for one in within} == {attempt.id}
    assert model.kind == CLIENT
    assert model.events == ("first content",)
    assert model.attributes["gen_ai.response.finish_reasons"] == "stop"
    assert model.attributes["gen_ai.usage.output_tokens"] > 0
    began = [one.began for one in (spans.one("store"), *within)]
    assert began == sorted(began)
    assert within[-1].ended <= attempt.ended
    # The answer was a stream: its request's span ended where that began.
    assert post.ended < model.ended
    assert not any(one.failed for one in spans.spans)
    assert {one["x-tenant"] for one in spans.headers} == {"ours"}


async def test_a_kept_connection_tells_of_each_generation_in_its_own_span(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    await traced.work.hire()
    for _ in range(3):
        await traced.ended(await traced.chat("demo-words-3-pace-20"))
    name = "chat demo-words-3-pace-20"
    await eventually(lambda: len(traced.collector.named(name)) == 3)
    assert [one.events for one in traced.collector.named(name)] == [("first content",)] * 3
    assert "ended span" not in caplog.text


async def test_a_trace_goes_on_although_redis_lost_everything(traced: Traced) -> None:
    generation_id = await traced.chat()
    assert await traced.work.redis.flushdb()
    assert await traced.state(generation_id) == "queued"
    await traced.work.hire()
    await traced.ended(generation_id)
    await traced.collector.has("POST", "attempt", "commit")
    post, attempt = traced.collector.one("POST"), traced.collector.one("attempt")
    assert (attempt.trace, attempt.parent) == (TRACE, post.id)


async def test_a_later_attempt_stands_beside_the_first_one(traced: Traced) -> None:
    first = await traced.work.hire(grace=0.0)
    generation_id = await traced.chat("demo-tokens-60-60")

    async def is_running() -> bool:
        return await traced.state(generation_id) == "running"

    await eventually(is_running)
    await first.dismiss()
    await traced.work.hire()
    await traced.ended(generation_id)
    await eventually(lambda: len(traced.collector.named("attempt")) == 2)
    attempts = traced.collector.named("attempt")
    await traced.collector.has("POST")
    assert {one.parent for one in attempts} == {traced.collector.one("POST").id}
    assert [one.attributes["relay.after"] for one in attempts] == ["queued", "handed_over"]


async def test_what_failed_is_marked_with_its_code_and_no_text(traced: Traced) -> None:
    await traced.work.hire()
    await traced.ended(await traced.chat("demo-status-401"))
    await traced.collector.has("attempt", "chat demo-status-401")
    attempt = traced.collector.one("attempt")
    assert attempt.failed
    assert attempt.attributes["relay.code"] == "model_error"
    assert traced.collector.one("chat demo-status-401").failed
    assert "Hello" not in str(traced.collector.spans)


async def test_a_request_that_is_refused_is_a_span_without_a_generation(traced: Traced) -> None:
    answer = await traced.relay.post("/v1/generations/gen_none/cancel")
    assert answer.status_code == 404
    await traced.collector.has("POST")
    post = traced.collector.one("POST")
    assert post.attributes["http.route"] == "/v1/generations/{id}/cancel"
    assert (post.attributes["http.response.status_code"], post.failed) == (404, False)


async def test_a_request_without_a_trace_begins_one(traced: Traced) -> None:
    for given in ({}, {"traceparent": "nonsense"}):
        body = {"kind": "chat", "input": "Hello"}
        await traced.relay.post("/v1/generations", json=body, headers=given)
    await eventually(lambda: len(traced.collector.named("POST")) == 2)
    assert {one.parent for one in traced.collector.named("POST")} == {""}
    assert len({one.trace for one in traced.collector.named("POST")} | {TRACE}) == 3


async def test_a_collector_that_never_answers_delays_neither_work_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otel, "CLOSE_SECONDS", 0.2)
    asked = asyncio.Event()
    connections: list[asyncio.StreamWriter] = []

    async def never_answers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        asked.set()

    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    began = time.monotonic()
    async with open_traces("test", {"OTEL_EXPORTER_OTLP_ENDPOINT": url}) as traces:
        with traces.span("work", None) as span:
            span.set({"a": 1})
        assert time.monotonic() - began < 0.5
        async with asyncio.timeout(5):
            await asked.wait()
        began = time.monotonic()
    assert 0.15 < time.monotonic() - began < 1.5
    server.close()
    for writer in connections:
        writer.transport.abort()
    # It was left behind, as it is when a process ends; here it would outlive its test.
    for thread in threading.enumerate():
        if thread.name == "traces":
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
