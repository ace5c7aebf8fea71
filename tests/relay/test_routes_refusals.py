"""Every refusal is a problem of the closed list, in its order, and leaves nothing behind."""

from typing import Any

import pytest

from jobs.errors import OutcomeUnknown
from relay import accepting
from relay.problems import MEDIA_TYPE, Code
from relay.unserved import SAY_EVERY_SECONDS
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay

UNKNOWN_PERSONA = "per_00000000000000000000000000"
UNKNOWN_CONVERSATION = "con_00000000000000000000000000"
UNKNOWN_GENERATION = "gen_00000000000000000000000000"
CHAT: dict[str, Any] = {"kind": "chat", "input": "hello"}
JSON = {"content-type": "application/json"}


def assert_problem(answer: Any, status: int, code: str, field: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["code"] in set(Code)
    assert problem.get("field") == field
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert set(problem) - {"field", "generation_id"} == {
        "type", "title", "status", "detail", "code", "request_id",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/generations", CHAT | {"kind": "sing"}, "kind"),
        ("/v1/generations", {"input": "x"}, "kind"),
        ("/v1/generations", {"kind": "chat"}, "input"),
        ("/v1/generations", CHAT | {"input": " "}, "input"),
        ("/v1/generations", CHAT | {"input": "x" * 100_001}, "input"),
        ("/v1/generations", CHAT | {"input": "a\x00"}, "input"),
        ("/v1/generations", CHAT | {"kind": "refine"}, "persona_id"),
        ("/v1/generations", CHAT | {"model": "unknown-model"}, "model"),
        ("/v1/generations", CHAT | {"on_active": "push"}, "on_active"),
        ("/v1/generations", CHAT | {"colour": 1}, "colour"),
        ("/v1/generations?stream=yes", CHAT, "stream"),
        ("/v1/personas", {"name": "Ada"}, "brief"),
        ("/v1/personas", {"name": "", "brief": "x"}, "name"),
        ("/v1/personas", {"name": "x" * 201, "brief": "x"}, "name"),
        (f"/v1/personas/{UNKNOWN_PERSONA}/refine", {}, "message"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_stored(
    relay: EdgeRelay, path: str, body: object, field: str
) -> None:
    assert_problem(await relay.post(path, body), 422, "invalid_request", field)
    assert await relay.stored() == 0


async def test_a_lone_surrogate_is_named_and_nothing_is_stored(relay: EdgeRelay) -> None:
    content = b'{"kind":"chat","input":"a\\ud800b"}'
    answer = await relay.client.post("/v1/generations", content=content, headers=JSON)
    assert_problem(answer, 422, "invalid_request", "input")
    assert await relay.stored() == 0


async def test_a_field_that_is_no_text_is_named_as_well_as_json_can(relay: EdgeRelay) -> None:
    content = b'{"kind":"chat","input":"a","\\ud800":1}'
    answer = await relay.client.post("/v1/generations", content=content, headers=JSON)
    assert_problem(answer, 422, "invalid_request", "?")


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\tb"])
async def test_an_idempotency_key_is_visible_ascii_of_bounded_length(
    relay: EdgeRelay, key: str
) -> None:
    answer = await relay.client.post(
        "/v1/generations", json=CHAT, headers={b"Idempotency-Key": key.encode()}
    )
    assert_problem(answer, 422, "invalid_request", "Idempotency-Key")
    assert await relay.stored() == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/generations", CHAT | {"conversation_id": UNKNOWN_CONVERSATION}),
        ("/v1/generations", CHAT | {"conversation_id": "con_x' OR 1=1"}),
        ("/v1/generations", {"kind": "refine", "input": "x", "persona_id": UNKNOWN_PERSONA}),
        (f"/v1/personas/{UNKNOWN_PERSONA}/refine", {"message": "x"}),
        ("/v1/personas/anything/refine", {"message": "x"}),
    ],
)
@pytest.mark.parametrize("query", ["", "?stream=true"])
async def test_an_unknown_id_is_not_found_and_nothing_is_stored(
    relay: EdgeRelay, path: str, body: object, query: str
) -> None:
    assert_problem(await relay.post(path + query, body), 404, "not_found")
    assert await relay.stored() == 0


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/generations/{UNKNOWN_GENERATION}",
        f"/v1/generations/{UNKNOWN_GENERATION}/events",
        "/v1/generations/gen_%00",
        "/v1/generations/gen_%00/events",
        f"/v1/conversations/{UNKNOWN_CONVERSATION}",
        f"/v1/personas/{UNKNOWN_PERSONA}",
        f"/v1/personas/{UNKNOWN_PERSONA}/versions",
        f"/v1/personas/{UNKNOWN_PERSONA}/export",
        f"/v1/personas/{UNKNOWN_PERSONA}/files/a.md",
        f"/v1/personas/{UNKNOWN_PERSONA}/files/a%00.md",
        "/v1/nothing",
        "/web/../settings.py",
        "/web/%2e%2e/settings.py",
        "/web/missing.js",
    ],
)
async def test_what_is_not_there_is_not_found(relay: EdgeRelay, path: str) -> None:
    assert_problem(await relay.client.get(path), 404, "not_found")


async def test_another_owner_finds_nothing(guarded: EdgeRelay) -> None:
    alice, bob = await guarded.bearer("generate"), await guarded.bearer("admin", owner="bob")
    body = {"name": "Ada", "brief": "x"}
    made = (await guarded.client.post("/v1/personas", json=body, headers=alice)).json()
    of = {name: made[name] for name in ("id", "conversation_id", "persona_id")}
    paths = [
        ("GET", f"/v1/generations/{of['id']}"),
        ("GET", f"/v1/generations/{of['id']}/events"),
        ("POST", f"/v1/generations/{of['id']}/cancel"),
        ("POST", f"/v1/generations/{of['id']}/ticket"),
        ("GET", f"/v1/conversations/{of['conversation_id']}"),
        ("GET", f"/v1/personas/{of['persona_id']}"),
        ("GET", f"/v1/personas/{of['persona_id']}/versions"),
        ("GET", f"/v1/personas/{of['persona_id']}/export"),
        ("DELETE", f"/v1/personas/{of['persona_id']}"),
    ]
    for method, path in paths:
        assert_problem(await guarded.client.request(method, path, headers=bob), 404, "not_found")
    for path in ("/v1/generations", "/v1/personas"):
        assert (await guarded.client.get(path, headers=bob)).json()["data"] == []
    refine = f"/v1/personas/{of['persona_id']}/refine"
    answer = await guarded.client.post(refine, json={"message": "x"}, headers=bob)
    assert_problem(answer, 404, "not_found")


async def test_a_body_over_a_mebibyte_is_too_large(relay: EdgeRelay) -> None:
    answer = await relay.client.post("/v1/generations", content=b" " * (1 << 20 | 1), headers=JSON)
    assert_problem(answer, 413, "body_too_large")


async def test_a_body_that_is_not_json_is_malformed(relay: EdgeRelay) -> None:
    answer = await relay.client.post("/v1/generations", content=b"{", headers=JSON)
    assert_problem(answer, 400, "malformed_body")


async def test_a_body_of_another_type_is_unsupported(relay: EdgeRelay) -> None:
    answer = await relay.client.post("/v1/generations", data={"kind": "chat"})
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/personas", "/v1/feed", "/docs", "/web/a"])
async def test_a_method_that_a_path_lacks_is_not_allowed(relay: EdgeRelay, path: str) -> None:
    answer = await relay.client.put(path, json={})
    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
    options = await relay.client.options(path)
    assert options.status_code == 204
    assert options.headers["allow"] == answer.headers["allow"]


async def test_allow_names_every_method_of_a_path(relay: EdgeRelay) -> None:
    answer = await relay.client.options("/v1/generations")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_a_used_up_limit_says_when_to_come_back(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="1") as relay:
        await relay.chat()
        before = await relay.stored()
        answer = await relay.post("/v1/generations", CHAT)
        assert_problem(answer, 429, "limit_exceeded")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert await relay.stored() == before


async def test_an_active_generation_is_named(relay: EdgeRelay) -> None:
    active = await relay.chat()
    before = await relay.stored()
    body = CHAT | {"conversation_id": active["conversation_id"]}
    answer = await relay.post("/v1/generations", body)
    assert_problem(answer, 409, "generation_active")
    assert answer.json()["generation_id"] == active["id"]
    assert await relay.stored() == before


async def test_a_database_that_is_away_is_said(open_relay: OpenRelay, free_tcp_port: int) -> None:
    nobody = f"postgresql+asyncpg://relay@127.0.0.1:{free_tcp_port}/relay"
    async with open_relay(RELAY_DATABASE_URL=nobody) as relay:
        answer = await relay.post("/v1/generations", CHAT)
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_what_is_not_served_is_said_once_a_minute_with_the_reason(
    open_relay: OpenRelay, free_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"postgresql+asyncpg://relay@127.0.0.1:{free_tcp_port}/relay"
    async with open_relay(RELAY_DATABASE_URL=nobody) as relay:

        def said() -> list[tuple[str, int]]:
            lines = [one for one in caplog.records if "answered 503" in one.message]
            return [(one.__dict__["reason"], one.__dict__["requests"]) for one in lines]

        for _ in range(3):
            assert (await relay.post("/v1/generations", CHAT)).status_code == 503
        assert said() == [("the database is not reachable", 1)]
        relay.services.counts.unserved._say_at -= SAY_EVERY_SECONDS
        assert (await relay.post("/v1/generations", CHAT)).status_code == 503
        assert said()[1:] == [("the database is not reachable", 3)]


async def test_an_unknown_outcome_carries_the_id_that_may_exist(
    relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: object, generation_id: str, **__: object) -> None:
        raise OutcomeUnknown(generation_id)

    monkeypatch.setattr(accepting, "accept", unknown)
    answer = await relay.post("/v1/generations", CHAT)
    assert_problem(answer, 503, "outcome_unknown")
    assert answer.json()["generation_id"].startswith("gen_")


async def test_a_defect_is_a_500_that_shows_nothing(
    relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ValueError("the inside")

    monkeypatch.setattr(accepting, "accept", broken)
    answer = await relay.post("/v1/generations", CHAT, x_request_id="trace-1")
    assert_problem(answer, 500, "internal_error")
    assert "inside" not in answer.text
    assert answer.headers["x-request-id"] == "trace-1"
    assert "trace-1" in caplog.text
    assert "the inside" in caplog.text


# One request a row, wrong in everything from its step on: the step's own refusal must come.
ORDER = [
    (401, {}, "text/plain", b"x" * (1 << 20 | 1), "unauthenticated"),
    (403, {"scopes": "read"}, "text/plain", b"x" * (1 << 20 | 1), "missing_scope"),
    (415, {"scopes": "generate"}, "text/plain", b"x" * (1 << 20 | 1), "unsupported_media_type"),
    (413, {"scopes": "generate"}, "application/json", b"{" * (1 << 20 | 1), "body_too_large"),
    (400, {"scopes": "generate"}, "application/json", b"{", "malformed_body"),
    (
        422,
        {"scopes": "generate"},
        "application/json",
        b'{"kind":"refine","input":"","persona_id":"%s"}' % UNKNOWN_PERSONA.encode(),
        "invalid_request",
    ),
    (
        404,
        {"scopes": "generate", "key": "used"},
        "application/json",
        b'{"kind":"refine","input":"x","persona_id":"%s"}' % UNKNOWN_PERSONA.encode(),
        "not_found",
    ),
    (
        422,
        {"scopes": "generate", "key": "used"},
        "application/json",
        b'{"kind":"chat","input":"x","conversation_id":"$ACTIVE"}',
        "idempotency_key_reused",
    ),
    (
        429,
        {"scopes": "generate"},
        "application/json",
        b'{"kind":"chat","input":"x","conversation_id":"$ACTIVE"}',
        "limit_exceeded",
    ),
]


@pytest.mark.parametrize(("status", "who", "media_type", "content", "code"), ORDER)
async def test_of_several_wrongs_the_first_in_order_is_answered(
    open_relay: OpenRelay,
    status: int,
    who: dict[str, str],
    media_type: str,
    content: bytes,
    code: str,
) -> None:
    async with open_relay(RELAY_AUTH="token", RELAY_OWNER_GENERATIONS_PER_MINUTE="1") as relay:
        owner = await relay.bearer("generate")
        first = await relay.client.post(
            "/v1/generations", json=CHAT, headers=owner | {"Idempotency-Key": "used"}
        )
        before = await relay.stored()
        headers = {"content-type": media_type}
        if "scopes" in who:
            headers |= await relay.bearer(who["scopes"])
        if "key" in who:
            headers["Idempotency-Key"] = who["key"]
        content = content.replace(b"$ACTIVE", first.json()["conversation_id"].encode())
        answer = await relay.client.post("/v1/generations", content=content, headers=headers)
        assert answer.status_code == status
        assert answer.json()["code"] == code
        assert await relay.stored() == before


async def test_an_idempotent_replay_comes_before_a_used_up_limit(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="1") as relay:
        first = await relay.post("/v1/generations", CHAT, Idempotency_Key="k")
        again = await relay.post("/v1/generations", CHAT, Idempotency_Key="k")
        assert again.status_code == 202
        assert again.json()["id"] == first.json()["id"]
