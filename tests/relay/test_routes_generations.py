"""Generations over HTTP: accepted once, read, listed, cancelled, and followed by whoever may."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import keys
from relay.accepting import request_hash
from relay.routes import starting
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay

CHAT: dict[str, Any] = {"kind": "chat", "input": "hello"}


def events(text: str) -> list[str]:
    """The names of a stream's events."""
    return [line[7:] for line in text.splitlines() if line.startswith("event: ")]


async def test_an_accepted_generation_is_the_bare_resource_with_its_location(
    relay: EdgeRelay,
) -> None:
    answer = await relay.post("/v1/generations", CHAT)
    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["location"] == f"/v1/generations/{made['id']}"
    assert made["state"] == "queued"
    assert made["model"] == "default-model"
    assert made["events_url"] == f"/v1/generations/{made['id']}/events"
    assert (await relay.client.get(answer.headers["location"])).json() == made
    assert "idempotent-replay" not in answer.headers


async def test_a_request_may_name_an_offered_model(relay: EdgeRelay) -> None:
    assert (await relay.chat(model="other-model"))["model"] == "other-model"


async def test_a_server_without_a_default_model_wants_one_named(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_MODEL="", RELAY_MODELS="*") as relay:
        answer = await relay.post("/v1/generations", CHAT)
        assert answer.status_code == 422
        assert answer.json()["field"] == "model"
        assert (await relay.chat(model="any/model:8b"))["model"] == "any/model:8b"


async def test_the_same_key_path_and_body_give_the_same_generation(relay: EdgeRelay) -> None:
    first = await relay.post("/v1/generations", CHAT, idempotency_key="k1")
    spelled = b'{ "input": "hell\\u006f", "kind": "chat" }'
    again = await relay.client.post(
        "/v1/generations",
        content=spelled,
        headers={"Idempotency-Key": "k1", "Content-Type": "application/json"},
    )
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotent-replay"] == "true"
    assert again.headers["location"] == first.headers["location"]


async def test_a_key_is_held_to_its_path_and_body(relay: EdgeRelay) -> None:
    first = await relay.post("/v1/generations", CHAT, idempotency_key="k1")
    persona = {"name": "hello", "brief": "x"}
    for path, body in [("/v1/generations", CHAT | {"input": "bye"}), ("/v1/personas", persona)]:
        answer = await relay.post(path, body, idempotency_key="k1")
        assert answer.status_code == 422
        assert answer.json()["code"] == "idempotency_key_reused"
        assert answer.json()["generation_id"] == first.json()["id"]


async def test_ten_requests_at_once_with_one_key_make_one_generation(relay: EdgeRelay) -> None:
    answers = await asyncio.gather(
        *(relay.post("/v1/generations", CHAT, idempotency_key="k") for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replay" in answer.headers for answer in answers) == 9


async def test_a_streamed_replay_is_the_whole_stream_and_never_a_204(relay: EdgeRelay) -> None:
    made = (await relay.post("/v1/generations", CHAT, idempotency_key="k")).json()
    await relay.client.post(f"/v1/generations/{made['id']}/cancel")
    answer = await relay.client.post(
        "/v1/generations?stream=true",
        json=CHAT,
        headers={"Idempotency-Key": "k", "Last-Event-ID": "0.2.0"},
    )
    assert answer.status_code == 200
    assert answer.headers["idempotent-replay"] == "true"
    assert answer.headers["location"] == f"/v1/generations/{made['id']}"
    assert events(answer.text) == ["status", "cancelled"]


class _Seen:
    """A request as far as its hash goes."""

    def __init__(self, root: str, path: str) -> None:
        self.scope = {"root_path": root}
        self.url = type("Url", (), {"path": root + path})()


json_objects = st.dictionaries(st.text(), st.text() | st.none() | st.booleans(), max_size=4)


@given(json_objects, json_objects, st.sampled_from(["/a", "/b"]), st.sampled_from(["/a", "/b"]))
def test_request_hashes_are_equal_when_path_and_body_are(
    body: dict[str, Any], other: dict[str, Any], path: str, other_path: str
) -> None:
    def hashed(root: str, path: str, body: dict[str, Any]) -> str:
        canonical = json.dumps(body, sort_keys=True).encode()
        seen: Any = _Seen(root, path)
        return request_hash(seen, canonical)

    assert hashed("", path, body) == hashed("/prefix", path, dict(reversed(body.items())))
    same = (path, body) == (other_path, other)
    assert (hashed("", path, body) == hashed("", other_path, other)) is same


async def test_lists_are_newest_first_narrowed_and_paged(relay: EdgeRelay) -> None:
    chats = [await relay.chat(str(number)) for number in range(3)]
    await relay.persona()
    await relay.client.post(f"/v1/generations/{chats[0]['id']}/cancel")

    async def page(**query: str) -> Any:
        return (await relay.client.get("/v1/generations", params=query)).json()

    first = await page(kind="chat", limit="2")
    assert [one["input"] for one in first["data"]] == ["2", "1"]
    second = await page(kind="chat", limit="2", cursor=first["next_cursor"])
    assert [one["input"] for one in second["data"]] == ["0"]
    assert second["next_cursor"] is None
    assert [one["input"] for one in (await page(state="cancelled"))["data"]] == ["0"]
    assert len((await page(unknown="parameter"))["data"]) == 4


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e1", "limit"),
        ("state=done", "state"),
        ("kind=talk", "kind"),
        ("persona_id=", "persona_id"),
        ("persona_id=per_%00", "persona_id"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=gen_%00", "cursor"),
    ],
)
async def test_a_query_that_cannot_be_taken_is_named(
    relay: EdgeRelay, query: str, field: str
) -> None:
    answer = await relay.client.get(f"/v1/generations?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize("limit", [1, 100])
async def test_a_page_may_have_one_to_a_hundred_items(relay: EdgeRelay, limit: int) -> None:
    assert (await relay.client.get(f"/v1/generations?limit={limit}")).status_code == 200


async def test_cancelling_a_queued_generation_ends_it_and_again_changes_nothing(
    relay: EdgeRelay,
) -> None:
    made = await relay.chat()
    first = await relay.client.post(f"/v1/generations/{made['id']}/cancel")
    again = await relay.client.post(f"/v1/generations/{made['id']}/cancel")
    assert first.status_code == again.status_code == 200
    assert first.json()["state"] == "cancelled"
    assert again.json() == first.json()


async def test_cancelling_what_has_completed_answers_it_as_it_is(relay: EdgeRelay) -> None:
    made = await relay.chat()
    await relay.complete(made["id"], "hi")
    answer = await relay.client.post(f"/v1/generations/{made['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"
    assert answer.json()["output"]["text"] == "hi"


async def test_on_active_queue_waits_and_interrupt_clears_the_line(relay: EdgeRelay) -> None:
    first = await relay.chat("one")
    there = {"conversation_id": first["conversation_id"]}
    waiting = await relay.chat("two", on_active="queue", **there)
    path = f"/v1/conversations/{first['conversation_id']}"
    seen = (await relay.client.get(path)).json()
    assert seen["active_generation"]["id"] == first["id"]
    assert [one["id"] for one in seen["waiting"]] == [waiting["id"]]
    assert [turn["text"] for turn in seen["turns"]] == ["one"]
    newest = await relay.chat("three", on_active="interrupt", **there)
    seen = (await relay.client.get(path)).json()
    assert seen["active_generation"]["id"] == newest["id"]
    assert seen["waiting"] == []


async def test_the_feed_hears_of_all_that_an_interrupt_ended(relay: EdgeRelay) -> None:
    first = await relay.chat("one")
    there = {"conversation_id": first["conversation_id"]}
    waiting = [await relay.chat(text, on_active="queue", **there) for text in ("two", "three")]
    async with relay.services.redis.pubsub() as listening:
        await listening.subscribe(keys.feed("local"))
        assert (await listening.get_message(timeout=5))["type"] == "subscribe"
        await relay.chat("four", on_active="interrupt", **there)
        changes = [await listening.get_message(timeout=5) for _ in range(3)]
    told = {json.loads(one["data"])["id"]: json.loads(one["data"])["state"] for one in changes}
    assert told == dict.fromkeys((one["id"] for one in (first, *waiting)), "cancelled")


async def test_the_end_of_a_stream_is_seen_by_its_cursor(relay: EdgeRelay) -> None:
    made = await relay.chat()
    await relay.client.post(f"/v1/generations/{made['id']}/cancel")
    whole = await relay.client.get(made["events_url"])
    assert events(whole.text) == ["status", "cancelled"]
    rest = await relay.client.get(made["events_url"], headers={"Last-Event-ID": "0.1.0"})
    assert events(rest.text) == ["cancelled"]
    over = await relay.client.get(made["events_url"], params={"after": "0.2.0"})
    assert over.status_code == 204
    header_wins = await relay.client.get(
        made["events_url"], params={"after": "0.2.0"}, headers={"Last-Event-ID": "0.1.0"}
    )
    assert header_wins.status_code == 200


async def test_a_head_of_a_stream_opens_none(relay: EdgeRelay) -> None:
    made = await relay.chat()
    for path in (made["events_url"], "/v1/feed"):
        answer = await relay.client.head(path)
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.status_code == 200
        assert answer.content == b""


async def test_a_stream_beyond_the_limit_is_refused_but_no_reconnect(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_OWNER_STREAMS="1") as relay:
        made = await relay.chat()
        await relay.client.post(f"/v1/generations/{made['id']}/cancel")
        before = await relay.stored()
        with relay.services.slots.acquire("local") as slot:
            for method, path in [
                ("GET", made["events_url"]),
                ("POST", "/v1/generations?stream=true"),
            ]:
                answer = await relay.client.request(
                    method, path, json=CHAT if method == "POST" else None
                )
                assert answer.status_code == 429
                assert answer.json()["code"] == "too_many_streams"
                assert int(answer.headers["retry-after"]) >= 1
            assert await relay.stored() == before
            for headers in ({"Last-Event-ID": "0.1.0"}, {"Last-Event-ID": "nonsense"}):
                answer = await relay.client.get(made["events_url"], headers=headers)
                assert answer.status_code == 200
            answer = await relay.client.get(made["events_url"], params={"after": "0.2.0"})
            assert answer.status_code == 204
            slot.release()
        assert (await relay.client.get(made["events_url"])).status_code == 200
        assert relay.services.slots.open_streams("local") == 0


async def test_a_replay_is_streamed_beyond_the_limit_and_nothing_else_is(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_OWNER_STREAMS="1") as relay:
        path = "/v1/generations?stream=true"
        made = (await relay.post("/v1/generations", CHAT, Idempotency_Key="k")).json()
        await relay.client.post(f"/v1/generations/{made['id']}/cancel")
        before = await relay.stored()
        with relay.services.slots.acquire("local") as slot:
            again = await relay.post(path, CHAT, Idempotency_Key="k")
            assert again.status_code == 200
            assert again.headers["idempotent-replay"] == "true"
            assert again.headers["location"] == f"/v1/generations/{made['id']}"
            assert events(again.text) == ["status", "cancelled"]
            reused = await relay.post(path, {**CHAT, "input": "other"}, Idempotency_Key="k")
            assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
            new = await relay.post(path, CHAT, Idempotency_Key="another")
            assert (new.status_code, new.json()["code"]) == (429, "too_many_streams")
            assert await relay.stored() == before
            assert relay.services.slots.open_streams("local") == 1
            slot.release()


@pytest.mark.parametrize("failing", ["accept_generation", "stream_joined"])
async def test_a_stream_that_cannot_begin_gives_its_slot_back(
    relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(starting, failing, broken)
    answer = await relay.post("/v1/generations?stream=true", CHAT)
    assert answer.status_code == 500
    assert relay.services.slots.open_streams("local") == 0


async def test_redis_being_away_does_not_refuse_a_generation(
    open_relay: OpenRelay, free_tcp_port: int
) -> None:
    async with open_relay(RELAY_REDIS_URL=f"redis://127.0.0.1:{free_tcp_port}/0") as relay:
        made = await relay.chat()
        assert (await relay.client.get(f"/v1/generations/{made['id']}")).status_code == 200
        assert (await relay.client.get("/v1/generations")).status_code == 200
        assert (await relay.client.post(f"/v1/generations/{made['id']}/cancel")).status_code == 200
