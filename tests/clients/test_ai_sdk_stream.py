"""The AI SDK's routes on the wire: the bytes, what is replayed and until when, and refusals."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from jobs import keys
from jobs.cursor import Cursor
from jobs.events import Ended, FileDelta, LoggedData, Notice, Reset, Status, Token
from jobs.generation import FileChange, Generation, Kind, Output, State
from relay.protocols.ai_sdk.chunks import Chunks
from tests.clients.place import Place
from tests.clients.told import DICTATED
from tests.relay.conftest import OpenRelay
from tests.relay.raw_reader import ask

RUNNING = Generation(
    id="gen_1", kind=Kind.CHAT, state=State.RUNNING, attempt=1, model="m", conversation_id="con_1",
    persona_id=None, input="hi", output=None, usage=None, error=None, created_at="", started_at="",
    finished_at=None, expires_at="", events_url="",
)  # fmt: skip


def asking(said: str, model: str = "demo-fast-echo", **more: Any) -> dict[str, Any]:
    message = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": said}]}
    return {"id": "c1", "messages": [message], "trigger": "submit-message", "model": model, **more}


def chunks(body: str) -> list[dict[str, Any]]:
    """The chunks of a whole body."""
    lines = body.removesuffix("\n\n").split("\n\n")
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_a_chat_is_one_step_with_one_text(place: Place) -> None:
    await place.work.hire()
    answer = await place.http.post("/ai/chat", json=asking("Hé"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    start, *steps, finish = chunks(answer.text)
    generation = await place.ended(start["messageId"])
    ids = {"generation_id": generation["id"], "conversation_id": generation["conversation_id"]}
    assert start["messageMetadata"] == {**ids, "persona_id": None}
    opened, text_opened, *deltas, text_closed, closed = steps
    assert (opened, closed) == ({"type": "start-step"}, {"type": "finish-step"})
    assert (text_opened["type"], text_closed["type"]) == ("text-start", "text-end")
    assert {one["type"] for one in deltas} == {"text-delta"}
    assert {one["id"] for one in (text_opened, *deltas, text_closed)} == {"text-1"}
    assert "".join(one["delta"] for one in deltas) == "Hé"
    assert (finish["type"], finish["finishReason"]) == ("finish", "stop")
    assert finish["messageMetadata"]["usage"] == generation["usage"]


async def test_a_replay_is_byte_for_byte_what_came_live_with_the_log_and_without(
    place: Place,
) -> None:
    await place.work.hire()
    making = asking(json.dumps(DICTATED), "demo-dictated-pace-100", kind="generate")
    live = await place.http.post("/ai/chat", json=making)
    assert b"data-file-delta" in live.content
    assert (await place.http.get("/ai/chat/c1/stream")).content == live.content
    [start, *_] = chunks(live.text)
    await place.work.redis.delete(keys.log(start["messageId"]))
    kept = [one for one in live.text.split("\n\n") if "data-file-delta" not in one]
    assert (await place.http.get("/ai/chat/c1/stream")).text == "\n\n".join(kept)


async def test_an_ended_run_is_replayed_for_a_minute_and_then_there_is_nothing(
    place: Place,
) -> None:
    await place.work.hire()
    assert (await place.http.get("/ai/chat/c1/stream")).status_code == 204
    await place.http.post("/ai/chat", json=asking("hi"))
    for seconds, status in ((50, 200), (15, 204)):
        shift = text("UPDATE generations SET finished_at = finished_at - :ms")
        await place.work.db.write_one(shift, {"ms": seconds * 1000})
        answer = await place.http.get("/ai/chat/c1/stream")
        assert (answer.status_code, bool(answer.content)) == (status, status == 200)


async def test_only_the_last_message_need_be_sent_and_only_text_is_taken(place: Place) -> None:
    await place.work.hire()
    alone = asking("one")
    alone["message"] = alone.pop("messages")[0]
    assert '"delta":"' in (await place.http.post("/ai/chat", json=alone)).text
    picture = asking("two")
    picture["messages"][0]["parts"].append({"type": "file", "mediaType": "image/png", "url": "x"})
    refused = await place.http.post("/ai/chat", json=picture)
    assert refused.status_code == 422
    assert refused.text == "messages: has a part of type 'file': only text is taken"


async def test_the_same_words_in_another_chat_or_message_are_another_request(
    place: Place,
) -> None:
    await place.work.hire()
    for chat, message in (("ab", "c"), ("a", "bc"), ("a", "b"), ("a", "b")):
        sent = asking("hi", id=chat)
        sent["messages"][0]["id"] = message
        assert (await place.http.post("/ai/chat", json=sent)).status_code == 200
    assert await place.generations() == 3


async def test_a_page_may_send_a_long_history_with_each_message(place: Place) -> None:
    await place.work.hire()
    sent = asking("hi")
    for number in range(40):
        parts = [{"type": "text", "text": "x" * 90_000, "state": "done"}]
        sent["messages"].insert(0, {"id": f"gen_{number}", "role": "assistant", "parts": parts})
    assert len(json.dumps(sent)) > 3 << 20
    assert chunks((await place.http.post("/ai/chat", json=sent)).text)[-1]["type"] == "finish"
    sent["messages"] *= 2
    refused = await place.http.post("/ai/chat", json=sent)
    assert (refused.status_code, refused.text) == (413, "a body may have at most 4194304 bytes")


@pytest.mark.parametrize("named", ["", "a\x00b", "\ud800", "gen_nowhere"])
async def test_an_edit_after_an_answer_that_is_not_the_chats_is_a_new_message(
    place: Place, named: str
) -> None:
    await place.work.hire()
    await place.http.post("/ai/chat", json=asking("one"))
    edited = asking("two")
    edited["messages"].insert(0, {"id": named, "role": "assistant", "parts": []})
    edited["messageId"] = edited["messages"][-1]["id"]
    body = json.dumps(edited).encode()
    headers = {"Content-Type": "application/json"}
    answer = await place.http.post("/ai/chat", content=body, headers=headers)
    assert chunks(answer.text)[-1]["type"] == "finish"
    [*_, newest] = await place.work.requests()
    assert [one["content"] for one in newest["messages"]][1:] == ["one", "one", "two"]


def told(*data: LoggedData) -> list[dict[str, Any]]:
    """The chunks after the opening ones, without [DONE]."""
    projection = Chunks(RUNNING)
    found = b"".join(projection.tell(Cursor(1, 1, 0), one) for one in data).decode()
    lines = [one.removeprefix("data: ") for one in found.split("\n\n")[:-1]]
    return [json.loads(one) for one in lines if one != "[DONE]"][2:]


def test_only_what_was_said_is_taken_back() -> None:
    reset = Reset("handed_over", 2)
    assert told(reset, Status(State.RUNNING, 2)) == []
    for said in (Token("a"), FileDelta("a.md", 0, "a"), Notice("code", "message")):
        kinds = [one["type"] for one in told(said, reset, reset, Token("b"))]
        assert kinds.count("reset-step") == 1
        assert kinds[-3:] == ["reset-step", "text-start", "text-delta"]


def test_a_file_is_one_part_under_its_path_and_its_preview_is_none() -> None:
    written = FileChange("a.md", "write", 3, "ab" * 32)
    preview, *files = told(FileDelta("a.md", 0, "one"), written, written)
    assert (preview["type"], preview["transient"]) == ("data-file-delta", True)
    assert [(one["type"], one["id"]) for one in files] == [("data-file", "a.md")] * 2
    assert "transient" not in files[0]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        (None, "other"),
        ("odd", "other"),
    ],
)
def test_why_the_model_stopped_is_told_in_the_sdks_words(reason: str | None, shown: str) -> None:
    output = Output(1, reason, None, (), ())
    ended = msgspec.structs.replace(RUNNING, state=State.COMPLETED, output=output)
    assert told(Token("a"), Ended(ended))[-1]["finishReason"] == shown


REFUSED = [
    (b"{", 400),
    (b"{}", 422),
    (json.dumps(asking(" ")).encode(), 422),
    (json.dumps(asking("hi", messages=[])).encode(), 422),
    (json.dumps(asking("hi", id="")).encode(), 422),
    (json.dumps(asking("hi", model="\ud800")).encode(), 422),
    (json.dumps(asking("a\ud800")).encode(), 422),
    (json.dumps(asking("hi", trigger="other")).encode(), 422),
    (json.dumps(asking("hi", persona_id="per_x")).encode(), 404),
]


async def test_a_refusal_is_one_line_of_plain_text(place: Place) -> None:
    headers = {"Content-Type": "application/json"}
    for body, status in REFUSED:
        answer = await place.http.post("/ai/chat", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text
        assert "\n" not in answer.text
    assert await place.generations() == 0


async def test_a_model_that_is_not_offered_is_answered_by_the_default(
    open_relay: OpenRelay,
) -> None:
    async with open_relay() as relay, relay.live() as url:
        for named, model in (("other-model", "other-model"), ("unheard-of", "default-model")):
            body = json.dumps(asking("hi", named, id=named)).encode()
            async with ask(f"{url}/ai/chat", method="POST", body=body) as sent:
                assert sent.status == 200
            [newest, *_] = (await relay.client.get("/v1/generations")).json()["data"]
            assert newest["model"] == model


async def test_a_chat_is_its_owners_alone(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_AUTH="token", RELAY_OWNER_STREAMS="1") as relay:
        alice = await relay.bearer("generate")
        bob = await relay.bearer("generate", owner="bob")
        reader = await relay.bearer("read")
        body = json.dumps(asking("hi", "default-model")).encode()
        stream = "/ai/chat/c1/stream"
        assert (await relay.client.get(stream)).status_code == 401
        assert (await relay.client.post("/ai/chat", json={})).status_code == 401
        for path in ("/ai/chat", "/ai/chat/c1/stop"):
            refused = await relay.client.post(path, json={}, headers=reader)
            assert refused.status_code == 403
        async with (
            relay.live() as url,
            ask(f"{url}/ai/chat", method="POST", headers=alice, body=body) as sent,
        ):
            assert sent.status == 200
            assert (await relay.client.get(stream, headers=bob)).status_code == 204
            # A resume always gets a place; a new message does not.
            async with ask(f"{url}{stream}", headers=alice) as resumed:
                assert resumed.status == 200
                more = asking("more", "default-model")
                refused = await relay.client.post("/ai/chat", json=more, headers=alice)
                assert refused.status_code == 429
                assert "streams are open" in refused.text
            stopped = await relay.client.post("/ai/chat/c1/stop", headers=bob)
            assert stopped.json() == {"success": True}
            assert not sent.finished
            await relay.client.post("/ai/chat/c1/stop", json={"any": 1}, headers=alice)
            async with asyncio.timeout(10):
                await sent.read()
            assert sent.finished
            assert b"".join(sent.chunks).endswith(
                b'data: {"type":"abort","reason":"cancelled"}\n\ndata: [DONE]\n\n'
            )
