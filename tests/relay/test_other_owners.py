"""Nothing of one owner is there for another: every call of the OpenAPI document is tried."""

import re
import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from relay.app import OPERATIONS, PROTOCOLS
from relay.openapi import openapi_document
from relay.routes.operation import EVENT_STREAM
from relay.tickets import Ticket, sign_ticket
from tests.relay.edge import EdgeRelay

SECRET_TEXT = "only alice may read this"
FILE = "notes/plan.md"
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (method.upper(), path, described)
    for path, methods in openapi_document(OPERATIONS)["paths"].items()
    for method, described in methods.items()
]
OF_ONE = [call for call in CALLS if "{" in call[1]]
OF_ALL = [call for call in CALLS if "{" not in call[1] and call[2]["security"]]
OF_THE_SYSTEM = {"/metrics", "/v1/ops/feed"}
"""What shows nobody's resources, not to their owner either."""
KIND_OF_ID = {"generations": "generation", "personas": "persona", "conversations": "conversation"}
BODIES = {
    "/v1/personas/{id}/refine": {"message": "more of it"},
}
"""What a call of one resource takes, so that nothing but the owner is wrong with it."""


@dataclass(frozen=True, slots=True)
class Alice:
    """What alice has, and her headers."""

    headers: dict[str, str]
    ids: dict[str, str]

    def path(self, template: str) -> str:
        """The path of her resource for this template; KeyError for one that is not known here."""
        kind = KIND_OF_ID[template.split("/")[2]]
        values = {"id": self.ids[kind], "path": FILE}
        return re.sub(r"{(\w+)}", lambda found: values[found[1]], template)


@pytest.fixture
async def alice(guarded: EdgeRelay) -> Alice:
    """An owner with a running chat, its conversation, and a persona with a file."""
    headers = await guarded.bearer("admin", owner="alice")
    chat = {"kind": "chat", "input": SECRET_TEXT}
    running = (await guarded.client.post("/v1/generations", json=chat, headers=headers)).json()
    brief = {"name": SECRET_TEXT, "brief": SECRET_TEXT}
    made = (await guarded.client.post("/v1/personas", json=brief, headers=headers)).json()
    await guarded.complete(made["id"], SECRET_TEXT, written={FILE: SECRET_TEXT})
    ids = {
        "generation": running["id"],
        "conversation": running["conversation_id"],
        "persona": made["persona_id"],
    }
    return Alice(headers, ids)


async def ask(
    relay: EdgeRelay, method: str, path: str, headers: dict[str, str], body: Any = None
) -> httpx.Response:
    """The answer to this call."""
    return await relay.client.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(("method", "template"), [(method, path) for method, path, _ in OF_ONE])
async def test_another_owners_resource_is_not_found_by_any_call(
    guarded: EdgeRelay, alice: Alice, method: str, template: str
) -> None:
    bob = await guarded.bearer("admin", owner="bob")
    path, body = alice.path(template), BODIES.get(template)
    stored = await guarded.stored()
    theirs = await ask(guarded, method, path, bob, body)
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert SECRET_TEXT not in theirs.text
    nobodys = re.sub(r"[0-9a-z]{26}", "0" * 26, path)
    missing = await ask(guarded, method, nobodys, bob, body)
    # Nor does the answer tell whether there is such a thing at all.
    assert _without_ids(missing) == _without_ids(theirs)
    assert await guarded.stored() == stored
    if method in ("POST", "DELETE"):
        generation, persona = alice.path("/v1/generations/{id}"), alice.path("/v1/personas/{id}")
        untouched = await ask(guarded, "GET", generation, alice.headers)
        assert untouched.json()["state"] == "queued"
        assert (await ask(guarded, "GET", persona, alice.headers)).json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "template"),
    [
        (method, path)
        for method, path, described in OF_ONE
        # A stream of the owner's would go on for as long as the generation does.
        if EVENT_STREAM not in described["responses"].get("200", {}).get("content", {})
    ],
)
async def test_the_same_call_is_good_for_the_owner(
    guarded: EdgeRelay, alice: Alice, method: str, template: str
) -> None:
    answer = await ask(guarded, method, alice.path(template), alice.headers, BODIES.get(template))
    assert answer.is_success, answer.text


@pytest.mark.parametrize(("method", "path", "described"), OF_ALL)
async def test_a_call_without_an_id_shows_and_reaches_nothing_of_another_owners(
    guarded: EdgeRelay, alice: Alice, method: str, path: str, described: dict[str, Any]
) -> None:
    bob = await guarded.bearer("admin", owner="bob")
    if method == "GET":
        streamed = EVENT_STREAM in described["responses"]["200"]["content"]
        theirs, mine = [
            await (first_event if streamed else content)(guarded, path, headers)
            for headers in (bob, alice.headers)
        ]
        assert not any(one in theirs for one in (SECRET_TEXT, *alice.ids.values()))
        assert path in OF_THE_SYSTEM or any(one in mine for one in alice.ids.values())
    else:
        stored = await guarded.stored()
        for body in TRESPASSING[path]:
            named = {name: alice.ids.get(str(value), value) for name, value in body.items()}
            answer = await ask(guarded, method, path, bob, named)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), named
        assert await guarded.stored() == stored


TRESPASSING: dict[str, list[dict[str, str]]] = {
    "/v1/generations": [
        {"kind": "chat", "input": "x", "conversation_id": "conversation"},
        {"kind": "chat", "input": "x", "conversation_id": "conversation", "on_active": "interrupt"},
        {"kind": "refine", "input": "x", "persona_id": "persona"},
        {"kind": "refine", "input": "x", "persona_id": "persona", "on_active": "queue"},
    ],
    "/v1/personas": [],
}
"""Bodies that name what is alice's; a persona's own body names nothing."""


@pytest.mark.parametrize(
    ("method", "template"),
    [(one.method, one.path) for one in (*OPERATIONS, *PROTOCOLS) if one.admits != "anyone"],
)
async def test_no_call_of_any_protocol_is_answered_without_credentials(
    guarded: EdgeRelay, alice: Alice, method: str, template: str
) -> None:
    path = re.sub(r"{(\w+)(:path)?}", alice.ids["generation"], template)
    stored = await guarded.stored()
    for headers in ({}, {"Authorization": "Bearer prt_guessedguessedguessed"}):
        answer = await ask(guarded, method, path, headers, {"kind": "chat", "input": "x"})
        assert answer.status_code == 401
        assert not any(one in answer.text for one in (SECRET_TEXT, *alice.ids.values()))
    assert await guarded.stored() == stored


@pytest.mark.parametrize(
    ("method", "template"),
    [(one.method, one.path) for one in PROTOCOLS if one.path.startswith("/openai/v1/responses/")],
)
async def test_another_owners_response_is_not_found_by_the_openai_sdk_either(
    guarded: EdgeRelay, alice: Alice, method: str, template: str
) -> None:
    body = {"input": SECRET_TEXT, "background": True}
    made = (await ask(guarded, "POST", "/openai/v1/responses", alice.headers, body)).json()
    path = template.replace("{id}", made["id"])
    bob = await guarded.bearer("admin", owner="bob")
    theirs = await ask(guarded, method, path, bob)
    assert theirs.status_code == 404
    assert SECRET_TEXT not in theirs.text
    mine = await ask(guarded, "GET", f"/openai/v1/responses/{made['id']}", alice.headers)
    assert mine.json()["status"] == "queued"


async def test_a_key_of_one_owner_is_free_for_another(guarded: EdgeRelay, alice: Alice) -> None:
    bob = await guarded.bearer("generate", owner="bob")
    body = {"kind": "chat", "input": "the same"}
    ids = []
    for headers in (alice.headers, bob):
        answer = await ask(
            guarded, "POST", "/v1/generations", headers | {"Idempotency-Key": "one"}, body
        )
        assert answer.status_code == 202
        assert "idempotent-replay" not in answer.headers
        ids.append(answer.json()["id"])
    assert len(set(ids)) == 2


async def test_a_page_cursor_of_one_owner_leads_another_to_nothing(
    guarded: EdgeRelay, alice: Alice
) -> None:
    bob = await guarded.bearer("read", owner="bob")
    page = (await ask(guarded, "GET", "/v1/generations?limit=1", alice.headers)).json()
    assert page["next_cursor"]
    path = f"/v1/generations?cursor={page['next_cursor']}"
    assert (await ask(guarded, "GET", path, bob)).json()["data"] == []
    assert (await ask(guarded, "GET", path, alice.headers)).json()["data"]


async def test_a_signed_ticket_opens_only_its_owners_generation(
    guarded: EdgeRelay, alice: Alice
) -> None:
    """Not even the server's own secret makes one owner's ticket good for another's stream."""
    generation = alice.ids["generation"]
    await ask(guarded, "POST", f"/v1/generations/{generation}/cancel", alice.headers)
    until = time.time_ns() // 1_000_000 + 60_000
    secret = guarded.services.settings.relay_secret or ""
    for owner, status in (("alice", 200), ("bob", 404), ("", 404)):
        ticket = sign_ticket(secret, generation, Ticket(owner, None, until))
        answer = await guarded.client.get(f"/v1/generations/{generation}/events?ticket={ticket}")
        assert answer.status_code == status


async def content(relay: EdgeRelay, path: str, headers: dict[str, str]) -> str:
    """What is answered to a GET that succeeds."""
    answer = await ask(relay, "GET", path, headers)
    assert answer.is_success
    return answer.text


async def first_event(relay: EdgeRelay, path: str, headers: dict[str, str]) -> str:
    """The first data of a stream that never ends by itself."""
    async with (
        relay.live() as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", path, headers=headers) as stream,
    ):
        assert stream.is_success
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                return line
    raise AssertionError("the stream ended before it said anything")


def _without_ids(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    shown = {name: re.sub(r"_[0-9a-z]{26}", "_ID", str(value)) for name, value in body.items()}
    return shown | {"request_id": "", "status_code": str(answer.status_code)}
