"""The app as a whole: headers, request ids, pages, CORS, mounts, health, and a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from jobs.store.workers import register_worker
from relay.app import create_app
from relay.edge import CONTENT_SECURITY_POLICY, Edge
from relay.problems import Refusal, exception_handlers
from relay.settings import read_relay_settings
from tests.relay.conftest import OpenRelay
from tests.relay.edge import WORKER, EdgeRelay

CHAT = {"kind": "chat", "input": "hello"}
PATHS = ["/", "/docs", "/docs/reference.js", "/web/relay.js", "/v1/generations", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_safe_headers(relay: EdgeRelay, path: str) -> None:
    answer = await relay.client.get(path)
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "microphone=()" in answer.headers["permissions-policy"]
    assert answer.headers["x-request-id"]


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    rules = {}
    for rule in CONTENT_SECURITY_POLICY.split("; "):
        name, *sources = rule.split(" ")
        rules[name] = set(sources)
    assert rules.pop("default-src") == {"'self'"}
    assert rules.pop("img-src") == {"'self'", "data:"}
    # Without a rule of their own these are free: they do not fall back to the default.
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert rules.pop(name) == {"'none'"}
    assert all(sources in ({"'self'"}, {"'none'"}) for sources in rules.values())


async def test_resources_are_not_stored_and_pages_are_asked_for_again(relay: EdgeRelay) -> None:
    assert (await relay.client.get("/v1/generations")).headers["cache-control"] == "no-store"
    for path in ("/", "/docs", "/web/relay.js", "/openapi.json"):
        assert (await relay.client.get(path)).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("given", ["trace-1", "A.b_c-9", "x" * 128])
async def test_a_sane_request_id_is_kept(relay: EdgeRelay, given: str) -> None:
    answer = await relay.client.get("/nothing", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>", "a,b", "é"])
async def test_any_other_request_id_is_replaced(relay: EdgeRelay, given: str) -> None:
    answer = await relay.client.get("/nothing", headers={b"X-Request-Id": given.encode()})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] != given
    assert len(answer.headers["x-request-id"]) == 32


async def test_two_requests_have_two_ids(relay: EdgeRelay) -> None:
    one, two = await relay.client.get("/healthz"), await relay.client.get("/healthz")
    assert one.headers["x-request-id"] != two.headers["x-request-id"]


async def test_the_page_names_the_model_and_whether_it_is_a_demo() -> None:
    for demo in (True, False):
        settings = read_relay_settings({"RELAY_AUTH": "off", "RELAY_MODEL": '<b>"m"&'})
        app = create_app(settings, demo=demo)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://relay"
        ) as client:
            page = (await client.get("/")).text
        assert 'content="&lt;b&gt;&quot;m&quot;&amp;"' in page
        assert f'content="{str(demo).lower()}"' in page
        assert "{{" not in page


async def test_the_scripts_of_the_page_are_served_as_scripts(relay: EdgeRelay) -> None:
    for path in ("/web/app.js", "/docs/reference.js"):
        answer = await relay.client.get(path)
        assert answer.headers["content-type"].split(";")[0] in (
            "text/javascript",
            "application/javascript",
        )
        again = await relay.client.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


async def test_health_is_that_of_the_process_alone(
    open_relay: OpenRelay, free_tcp_port: int
) -> None:
    async with open_relay(RELAY_REDIS_URL=f"redis://127.0.0.1:{free_tcp_port}/0") as relay:
        answer = await relay.client.get("/healthz")
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok"}
        ready = await relay.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["redis"] != "ok"
        assert ready.json()["database"] == "ok"


async def test_readiness_is_redis_the_database_and_a_live_worker(relay: EdgeRelay) -> None:
    answer = await relay.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert "persona-relay worker" in answer.json()["worker"]
    await register_worker(relay.services.db, WORKER, 1)
    answer = await relay.client.get("/readyz")
    assert answer.status_code == 200
    ok = "ok"
    assert answer.json() == {"ready": True, "redis": ok, "database": ok, "worker": ok}


async def test_readiness_tells_a_schema_that_is_not_the_newest(relay: EdgeRelay) -> None:
    renumber = text("UPDATE alembic_version SET version_num = 'another'")
    await relay.services.db.write(lambda connection: connection.execute(renumber))
    answer = await relay.client.get("/readyz")
    assert answer.status_code == 503
    assert "persona-relay migrate" in answer.json()["database"]


ORIGIN = "https://app.example"


async def test_pages_of_other_origins_are_not_let_in_by_default(relay: EdgeRelay) -> None:
    answer = await relay.client.get("/v1/generations", headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_configured_origin_may_call_and_read_refusals(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_ALLOWED_ORIGINS=ORIGIN) as relay:
        preflight = await relay.client.options(
            "/v1/generations",
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": (
                    "authorization,content-type,idempotency-key,traceparent,user-agent,"
                    "x-stainless-retry-count"
                ),
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        refused = await relay.client.get("/nothing", headers={"Origin": ORIGIN})
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        other = await relay.client.get("/nothing", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_a_mounted_relay_serves_below_its_prefix(open_relay: OpenRelay) -> None:
    async with open_relay() as opened:
        inner = create_app(services=opened.services)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with inner.router.lifespan_context(inner):
                yield

        host = Starlette(routes=[Mount("/ai/relay", inner)], lifespan=lifespan)
        transport = httpx.ASGITransport(host)
        async with (
            host.router.lifespan_context(host),
            httpx.AsyncClient(transport=transport, base_url="http://host/ai/relay") as client,
        ):
            made = await client.post("/v1/generations", json=CHAT, headers={"Idempotency-Key": "k"})
            generation = made.json()
            assert made.headers["location"] == f"/ai/relay/v1/generations/{generation['id']}"
            assert generation["events_url"] == f"/v1/generations/{generation['id']}/events"
            # The prefix is the host's affair: the same request below another one is the same.
            again = await opened.post("/v1/generations", CHAT, idempotency_key="k")
            assert again.headers["idempotent-replay"] == "true"
            assert (await client.get("/")).status_code == 200
            assert (await client.get("/web/relay.js")).status_code == 200
            missing = await client.get("/nothing")
            assert missing.json()["code"] == "not_found"


async def test_a_mount_without_its_lifespan_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(read_relay_settings({"RELAY_AUTH": "off"}))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
        assert (await client.get("/v1/generations")).status_code == 500
    assert "lifespan" in caplog.text


async def test_a_body_that_is_too_large_is_refused_on_a_real_connection(
    relay: EdgeRelay,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    async with relay.live() as url, httpx.AsyncClient(base_url=url) as client:
        for body in (b" " * (5 << 20), endless()):
            answer = await client.post("/v1/generations", content=body, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["code"] == "body_too_large"
        assert (await client.post("/v1/generations", json=CHAT)).status_code == 202
    assert await relay.stored() == 3


async def test_a_reader_is_sent_away_to_come_back_while_the_database_is_away(
    open_relay: OpenRelay, free_tcp_port: int
) -> None:
    nobody = f"postgresql+asyncpg://relay@127.0.0.1:{free_tcp_port}/relay"
    path = "/v1/generations/gen_00000000000000000000000000/events"
    for auth in ("off", "token"):
        async with (
            open_relay(RELAY_DATABASE_URL=nobody, RELAY_AUTH=auth) as relay,
            relay.live() as url,
            httpx.AsyncClient(base_url=url) as client,
        ):
            headers = {"Authorization": "Bearer prt_somebodysomebody"}
            async with client.stream("GET", path, headers=headers) as stream:
                assert stream.status_code == 200
                assert stream.headers["content-type"].startswith("text/event-stream")
                chunks = stream.aiter_raw()
                assert await anext(chunks) == b"retry: 2000\n\n"
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(chunks)


async def test_open_streams_are_counted_while_they_are_open(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_STREAMS="2") as relay, relay.live() as url:
        made = await relay.chat()
        slots = relay.services.slots
        async with httpx.AsyncClient(base_url=url) as client:
            async with client.stream("GET", made["events_url"]) as first:
                assert first.status_code == 200
                async with client.stream("POST", "/v1/generations?stream=true", json=CHAT) as two:
                    assert two.status_code == 200
                    assert two.headers["location"].startswith("/v1/generations/gen_")
                    assert slots.open_streams("local") == 2
                    third = await client.get(made["events_url"])
                    assert third.status_code == 429
                    async with client.stream("GET", "/v1/feed") as feed:
                        assert feed.status_code == 200
            async with asyncio.timeout(10):
                while slots.open_streams("local") or slots.open_streams("local", "feed"):
                    await client.get("/healthz")


async def test_below_a_prefix_errors_are_answered_in_its_shape_also_when_mounted() -> None:
    def shape(refusal: Refusal, request_id: str) -> Response:
        return Response(f"{refusal.code} {request_id}", refusal.status)

    async def breaks(request: Request) -> Response:
        raise ZeroDivisionError

    relay = Starlette(
        routes=[Route("/other/breaks", breaks), Route("/v1/breaks", breaks)],
        middleware=[Middleware(Edge, shapes={"/other/": shape})],
        exception_handlers=exception_handlers(),
    )
    for prefix, app in (("", relay), ("/relay", Starlette(routes=[Mount("/relay", relay)]))):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            for path, said in (
                ("/other/breaks", "internal_error"),
                ("/other/nothing", "not_found"),
            ):
                answer = await client.get(prefix + path, headers={"X-Request-Id": "me"})
                assert answer.text == f"{said} me"
            answer = await client.get(f"{prefix}/v1/breaks")
            assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
