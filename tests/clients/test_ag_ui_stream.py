"""AG-UI's route on the wire: valid by its own models and validator, the same at each attachment."""

import json
from typing import Any

import pytest
from ag_ui.core import Event
from ag_ui_validate.transport import TransportOptions, validate_endpoint
from pydantic import TypeAdapter

from jobs import keys
from jobs.cursor import Cursor
from jobs.events import LoggedData, Notice, Reset, Status, Token
from jobs.generation import Generation, Kind, State
from jobs.store.conversations import ConversationResource, TurnResource
from relay.protocols.ag_ui.events import Events
from relay.protocols.ag_ui.history import messages_before
from relay.protocols.ag_ui.request import AgentMessage
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID
from tests.relay.conftest import OpenRelay

EVENT: TypeAdapter[Any] = TypeAdapter(Event)
AT = Cursor(1, 1, 0)
GENERATION = Generation(
    id="gen_1", kind=Kind.CHAT, state=State.RUNNING, attempt=1, model="m", conversation_id="con_1",
    persona_id=None, input="hi", output=None, usage=None, error=None, created_at="", started_at="",
    finished_at=None, expires_at="", events_url="",
)  # fmt: skip


def asking(said: Any, run: str = "r1", model: str = "demo-fast-echo", **props: Any) -> Any:
    return {
        "threadId": "t1", "runId": run, "protocolVersion": "1.0", "state": {}, "tools": [],
        "messages": [{"id": "u1", "role": "user", "content": said}], "context": [],
        "forwardedProps": {"model": model, **props},
    }  # fmt: skip


def events(body: str) -> list[dict[str, Any]]:
    """The events of a body, each of which the official models take, and without any null."""
    found = [json.loads(one.removeprefix("data: ")) for one in body.split("\n\n")[:-1]]
    for one in found:
        EVENT.validate_python(one)
        assert None not in one.values()
    return found


CASES = {
    "a chat": asking(SAID, model="demo-echo-pace-200"),
    "a persona": asking(json.dumps(DICTATED), model="demo-fast-dictated", kind="generate"),
    "files and no text": asking("Ada", model="demo-fast-toolsonly", kind="generate"),
    "a failure": asking(SAID, model="demo-fast-echo-truncated-after-5"),
    "an empty answer": asking(SAID, model="demo-empty"),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_validator_finds_nothing_live_nor_attached(place: Place, case: str) -> None:
    await place.work.hire()
    for _ in ("live", "attached"):
        options = TransportOptions(input=CASES[case], timeout_ms=20_000)
        result = await validate_endpoint(f"{place.url}/ag-ui", options)
        found = [f"{one.rule} {one.message}" for one in result.report.diagnostics]
        assert (result.report.summary.errors, result.report.summary.warnings) == (0, 0), found
        assert result.event_count > 1
    assert await place.generations() == 1


async def test_the_deltas_of_an_attached_run_are_the_live_ones_with_the_log_and_without(
    place: Place,
) -> None:
    await place.work.hire()
    body = asking(json.dumps(DICTATED), model="demo-dictated-pace-100", kind="generate")
    live = events((await place.http.post("/ag-ui", json=body)).text)
    assert [one["type"] for one in live[:2]] == ["RUN_STARTED", "TEXT_MESSAGE_START"]
    assert {one["name"] for one in live if one["type"] == "CUSTOM"} == {"file", "notice", "skill"}
    for log_is_there in (True, False):
        if not log_is_there:
            await place.work.redis.delete(keys.log(live[1]["messageId"]))
        started, snapshot, *again = events((await place.http.post("/ag-ui", json=body)).text)
        assert [started, *again] == live
        said = body["messages"][0]["content"]
        assert snapshot["messages"] == [{"id": "u1", "role": "user", "content": said}]


async def test_a_waiting_run_is_attached_with_its_own_words_last(place: Place) -> None:
    first, second = asking("one"), asking("two", "r2")
    async with (
        place.http.stream("POST", "/ag-ui", json=first),
        place.http.stream("POST", "/ag-ui", json=second),
        place.http.stream("POST", "/ag-ui", json=second) as attached,
    ):
        await place.work.hire()
        told = events((await attached.aread()).decode())
    assert [one["content"] for one in told[1]["messages"]] == ["one", "two"]
    deltas = [one["delta"] for one in told if one["type"] == "TEXT_MESSAGE_CONTENT"]
    assert "".join(deltas) == "two"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"threadId": ""}, "threadId"),
    ({"threadId": "a\x00"}, "threadId"),
    ({"runId": ""}, "runId"),
    ({"runId": "\ud800"}, "runId"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "a\ud800"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages"),
    ({"forwardedProps": {"kind": "poem"}}, "forwardedProps"),
    ({"forwardedProps": [1]}, "forwardedProps"),
]


async def test_a_refusal_is_a_problem_that_names_the_field(place: Place) -> None:
    headers = {"Content-Type": "application/json"}
    for change, field in REFUSED:
        content = json.dumps(asking("hi") | change).encode()
        answer = await place.http.post("/ag-ui", content=content, headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await place.generations() == 0


async def test_text_parts_are_taken_and_other_props_are_left_alone(place: Place) -> None:
    await place.work.hire()
    said = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    answer = await place.http.post("/ag-ui", json=asking(said, other={"deep": 1}))
    deltas = [one for one in events(answer.text) if one["type"] == "TEXT_MESSAGE_CONTENT"]
    assert "".join(one["delta"] for one in deltas) == "a\n\nb"
    no_props = asking("c", "r2")
    del no_props["forwardedProps"], no_props["tools"], no_props["context"]
    assert (await place.http.post("/ag-ui", json=no_props)).status_code == 200


async def test_a_run_needs_a_token_that_may_generate(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_AUTH="token") as relay:
        reader = await relay.bearer("read")
        assert (await relay.client.post("/ag-ui", json=asking("hi"))).status_code == 401
        refused = await relay.client.post("/ag-ui", json=asking("hi"), headers=reader)
        assert refused.status_code == 403


def test_what_was_told_is_not_told_again_after_a_reset() -> None:
    told = Events(GENERATION, "t", "r")
    first: list[LoggedData] = [Status(State.RUNNING, 1), Token("a"), Notice("x", "y"), Token("b")]
    again: list[LoggedData] = [
        Reset("worker_lost", 2),
        Status(State.RUNNING, 2),
        *first[1:],
        Token("c"),
    ]
    before = b"".join(told.tell(AT, one) for one in first)
    after = b"".join(told.tell(AT, one) for one in again)
    assert [one["type"] for one in events(before.decode())] == [
        "RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "CUSTOM",
        "TEXT_MESSAGE_CONTENT",
    ]  # fmt: skip
    assert [one["delta"] for one in events(after.decode())] == ["c"]


async def test_a_run_is_attached_to_by_its_ids_whatever_else_is_sent(place: Place) -> None:
    await place.work.hire()
    first = events((await place.http.post("/ag-ui", json=asking("hi"))).text)
    picture = [{"type": "image", "source": {"type": "url", "value": "x"}}]
    nothing = {**asking("hi"), "messages": []}
    for sent in (nothing, asking(picture), asking("other"), asking("hi", kind="song")):
        answer = await place.http.post("/ag-ui", json=sent)
        assert answer.status_code == 200
        started, snapshot, *rest = events(answer.text)
        assert [one["content"] for one in snapshot["messages"]] == ["hi"]
        assert [started, *rest] == first
    refused = await place.http.post("/ag-ui", json={**nothing, "runId": "r2"})
    assert (refused.status_code, refused.json()["field"]) == (422, "messages")
    assert await place.generations() == 1


async def test_the_end_says_what_the_run_used_and_made(place: Place) -> None:
    await place.work.hire()
    last = events((await place.http.post("/ag-ui", json=asking("hi"))).text)[-1]
    made = await place.ended(last["result"]["generation_id"])
    used = made["usage"]
    assert last["usage"] == [{
        "model": "demo-fast-echo", "inputTokens": used["input_tokens"],
        "outputTokens": used["output_tokens"],
        "totalTokens": used["input_tokens"] + used["output_tokens"],
    }]  # fmt: skip
    assert last["result"] == {
        "generation_id": made["id"], "conversation_id": made["conversation_id"],
        "finish_reason": "stop",
    }  # fmt: skip


async def test_a_worker_that_stops_once_something_was_told_ends_the_run(place: Place) -> None:
    worker = await place.work.hire(grace=0)
    asked, body = asking(SAID, model="demo-echo-pace-20"), b""
    async with place.http.stream("POST", "/ag-ui", json=asked) as answer:
        async for chunk in answer.aiter_bytes():
            body += chunk
            if b"TEXT_MESSAGE_CONTENT" in body and not worker.stop.is_set():
                worker.stop.set()
                await place.work.hire()
    await worker.dismiss()
    told = events(body.decode())
    assert (told[-1]["type"], told[-1]["code"]) == ("RUN_ERROR", "worker_lost")
    text = "".join(one["delta"] for one in told if one["type"] == "TEXT_MESSAGE_CONTENT")
    assert text == await place.committed(told[1]["messageId"])
    assert 0 < len(text) < len(SAID)


def test_a_page_is_shown_its_own_ids_as_far_as_its_history_is_the_servers() -> None:
    said = (("trn_1", "user", "one", "gen_0"), ("trn_2", "assistant", "to one", "gen_0"),
            ("trn_3", "user", "hi", "gen_1"), ("trn_4", "assistant", "to hi", "gen_1"))  # fmt: skip
    turns = tuple(
        TurnResource(ident, role, text, partial=False, generation_id=of, created_at="")
        for ident, role, text, of in said
    )
    conversation = ConversationResource("con_1", None, turns, None, ())

    def ids(*given: tuple[str, str, str]) -> list[str]:
        page = [AgentMessage(role, ident, text) for ident, role, text in given]
        return [one["id"] for one in messages_before(conversation, GENERATION, page)]

    asked = ("u2", "user", "hi")
    assert ids(("u1", "user", "one"), ("a1", "assistant", "to one"), asked) == ["u1", "a1", "u2"]
    assert ids(asked) == ["trn_1", "gen_0", "trn_3"]
    # After the first difference none of its ids, for it would keep that message where it stands.
    assert ids(("trn_1", "user", "other"), ("a1", "assistant", "to one"), asked) == [
        "trn_1:1", "gen_0", "trn_3",
    ]  # fmt: skip
