"""The openai SDK for Python, unmodified and strict: every call, and every place to be cut."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import openai
import pytest

from jobs import keys
from tests.clients.cutter import Cut
from tests.clients.openai_python import async_client_of, client_of, generation_of, in_thread
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID
from tests.services import eventually

PACED = "demo-echo-pace-120"
SILENT = "demo-fast-tokens-9-silent-after-3"


@pytest.fixture
async def client(place: Place) -> AsyncIterator[Any]:
    """The SDK for asyncio, before a relay with a worker."""
    await place.work.hire()
    async with async_client_of(place.url) as opened:
        yield opened


async def events_of(client: Any, response_id: str, **query: Any) -> list[Any]:
    """The events of a response, told to the end."""
    stream = await client.responses.retrieve(response_id, stream=True, **query)
    return [event async for event in stream]


def deltas(events: Sequence[Any]) -> str:
    return "".join(one.delta for one in events if one.type == "response.output_text.delta")


async def create(client: Any, model: str = PACED, **named: Any) -> Any:
    """A response in the background."""
    named.setdefault("input", SAID)
    return await client.responses.create(model=model, background=True, **named)


async def test_a_stream_is_told_live_and_again_from_every_number_on(
    place: Place, client: Any
) -> None:
    stream = await client.responses.create(
        model=PACED, input=SAID, background=True, stream=True, metadata={"a": "É"}
    )
    live: list[Any] = []
    joined: list[asyncio.Task[list[Any]]] = []
    response_id = ""
    async for event in stream:
        if event.type == "response.created":
            response_id = event.response.id
        # A reader that joins while it runs, at every number.
        joined.append(
            asyncio.create_task(
                events_of(client, response_id, starting_after=event.sequence_number)
            )
        )
        live.append(event)
    assert [one.sequence_number for one in live] == list(range(len(live)))
    assert len(live) > 15
    for number, rest in enumerate(await asyncio.gather(*joined)):
        assert rest == live[number + 1 :]
    assert deltas(live) == SAID == await place.committed(generation_of(response_id))
    assert live[-1].type == "response.completed"
    assert live[-1].response == await client.responses.retrieve(response_id)
    assert live[-1].response.metadata == {"a": "É"}
    for step in (5, 1):
        if step == 1:
            # From SQL alone.
            assert await place.work.redis.delete(keys.log(generation_of(response_id)))
        assert await events_of(client, response_id) == live
        for number in range(0, len(live), step):
            assert await events_of(client, response_id, starting_after=number) == live[number + 1 :]


async def test_cut_between_and_inside_events_it_ends_with_the_committed_text(
    place: Place, client: Any
) -> None:
    created = await create(client)

    async def followed(cut: Cut, response_id: str | None) -> tuple[bool, list[Any]]:
        plan, seen = place.plan(cut), []
        async with async_client_of(place.url + plan.path) as cut_off:
            stream = await (
                cut_off.responses.create(model=PACED, input=SAID, background=True, stream=True)
                if response_id is None
                else cut_off.responses.retrieve(response_id, stream=True)
            )
            with suppress(openai.APIConnectionError):
                async for event in stream:
                    seen.append(event)
                # An end that is taken for one is the end.
                assert seen[-1].type == "response.completed"
            cut_at = seen[-1].sequence_number
            seen += await events_of(cut_off, seen[0].response.id, starting_after=cut_at)
        return plan.made == 1, seen

    cuts = [Cut(number, inside) for number in range(1, 36) for inside in (False, True)]
    outcomes = await asyncio.gather(
        *(followed(cut, created.id) for cut in cuts),
        *(followed(cut, None) for cut in (Cut(1), Cut(3, inside=True), Cut(9), Cut(12, True))),
    )
    whole = await events_of(client, created.id)
    assert sum(made for made, _ in outcomes) >= min(2 * len(whole), len(cuts))
    for _, seen in outcomes:
        assert [one.sequence_number for one in seen] == list(range(len(seen)))
        assert seen[-1].type == "response.completed"
        assert deltas(seen) == seen[-1].response.output_text == SAID
    assert all(seen == whole for _, seen in outcomes[: len(cuts)])
    assert await place.committed(generation_of(created.id)) == SAID


async def test_the_helper_rebuilds_a_response_from_any_number(client: Any) -> None:
    async with client.responses.stream(model=PACED, input=SAID, background=True) as helper:
        events = [event async for event in helper]
        final = await helper.get_final_response()
    assert final.output_text == SAID
    for number in (0, 4, 7, len(events) - 2):
        async with client.responses.stream(response_id=final.id, starting_after=number) as helper:
            told = [event async for event in helper]
            again = await helper.get_final_response()
        assert [one.sequence_number for one in told] == list(range(number + 1, len(events)))
        assert again.output_text == SAID


async def test_the_blocking_client_does_all_of_it(place: Place) -> None:
    await place.work.hire()

    def all_of_it(client: Any) -> None:
        first = client.responses.create(model="demo-fast-echo", input="one")
        assert (first.status, first.output_text, first.background) == ("completed", "one", False)
        assert first.usage is not None
        assert first.usage.total_tokens > 0
        events = list(client.responses.create(
            model="demo-fast-echo", input="two", stream=True, previous_response_id=first.id
        ))  # fmt: skip
        assert events[-1].type == "response.completed"
        second = events[-1].response
        assert (second.output_text, second.previous_response_id) == ("two", first.id)
        rest = list(client.responses.retrieve(second.id, stream=True, starting_after=3))
        assert rest == events[4:]
        with client.responses.stream(response_id=second.id) as helper:
            assert helper.get_final_response().output_text == "two"
        silent = client.responses.create(model=SILENT, input="three", background=True)
        assert client.responses.cancel(silent.id).status == "cancelled"
        assert client.responses.input_items.list(first.id).data[0].type == "message"
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)

    with client_of(place.url) as client:
        await in_thread(all_of_it, client)


async def test_the_blocking_client_goes_on_where_it_was_cut(place: Place) -> None:
    await place.work.hire()

    def follow(client: Any) -> list[Any]:
        seen: list[Any] = []
        stream = client.responses.create(
            model="demo-echo-pace-200", input=SAID, background=True, stream=True
        )
        with suppress(openai.APIConnectionError):
            for event in stream:
                seen.append(event)
            pytest.fail("a stream that was cut ended as if it were whole")
        response, last = seen[0].response.id, seen[-1].sequence_number
        return [*seen, *client.responses.retrieve(response, stream=True, starting_after=last)]

    for cut in (Cut(1), Cut(4, inside=True), Cut(9), Cut(14, inside=True)):
        plan = place.plan(cut)
        with client_of(place.url + plan.path) as client:
            seen = await in_thread(follow, client)
        assert plan.made == 1
        assert [one.sequence_number for one in seen] == list(range(len(seen)))
        assert deltas(seen) == seen[-1].response.output_text == SAID


async def test_a_cancelled_response_ends_for_all_and_keeps_its_text(
    place: Place, client: Any
) -> None:
    created = await create(client, SILENT)
    assert created.status == "queued"
    stream = await client.responses.retrieve(created.id, stream=True)
    seen: list[Any] = []
    cancelled: Any = None
    async for event in stream:
        seen.append(event)
        if deltas(seen) == "t1 t2 t3" and event.type == "response.output_text.delta":
            cancelled = await client.responses.cancel(created.id)
            assert (cancelled.status, cancelled.output_text) == ("cancelled", "t1 t2 t3")
    assert seen[-1].type == "response.incomplete"
    assert seen[-1].response == cancelled
    assert cancelled.incomplete_details is None
    assert await client.responses.cancel(created.id) == cancelled
    assert await place.committed(generation_of(created.id)) == "t1 t2 t3"
    assert await events_of(client, created.id) == seen


async def test_one_that_was_deleted_is_stopped_and_unknown(place: Place, client: Any) -> None:
    created = await create(client, SILENT)
    await eventually(lambda: _is_running(client, created.id))
    await client.responses.delete(created.id)
    for call in (
        client.responses.retrieve(created.id),
        client.responses.cancel(created.id),
        client.responses.delete(created.id),
        client.responses.input_items.list(created.id),
        client.responses.retrieve(created.id, stream=True),
    ):
        with pytest.raises(openai.NotFoundError) as unknown:
            await call
        assert unknown.value.body == {
            "message": f"Response with id '{created.id}' not found.",
            "type": "invalid_request_error", "param": None, "code": None,
        }  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="not found"):
        await create(client, previous_response_id=created.id)
    assert (await place.ended(generation_of(created.id)))["state"] == "cancelled"


async def _is_running(client: Any, response_id: str) -> bool:
    status: str = (await client.responses.retrieve(response_id)).status
    return status == "in_progress"


async def test_a_conversation_goes_on_from_any_response(place: Place, client: Any) -> None:
    async def said(text: str, previous: Any = None) -> Any:
        named = {} if previous is None else {"previous_response_id": previous.id}
        return await client.responses.create(
            model="demo-fast-echo",
            input=[
                {"role": "system", "content": "ignored"},
                {"role": "user", "content": "an older one"},
                {"role": "assistant", "content": "what the client believes"},
                {"role": "user", "content": [{"type": "input_text", "text": text}]},
            ],
            **named,
        )  # fmt: skip

    first = await said("a")
    second = await said("b", first)
    other = await said("c", first)
    await said("d", second)
    shown = [
        [one["content"] for one in body["messages"][1:]] for body in await place.work.requests()
    ]
    assert shown == [["a"], ["a", "a", "b"], ["a", "a", "c"], ["a", "a", "b", "b", "d"]]
    assert other.output_text == "c"
    items = await client.responses.input_items.list(second.id, order="asc")
    [item] = items.data
    assert item.type == "message"
    assert item.content[0].type == "input_text"
    assert item.content[0].text == "b"
    assert not items.has_more
    later = await client.responses.input_items.list(second.id, after=items.last_id)
    assert later.data == []


async def test_a_persona_is_made_and_continued_in_function_calls(place: Place, client: Any) -> None:
    events = [one async for one in await client.responses.create(
        model="demo-fast-dictated", input=json.dumps(DICTATED), stream=True, background=True,
        metadata={"relay_kind": "generate", "relay_name": "Ada"},
    )]  # fmt: skip
    made = events[-1].response
    assert [item.type for item in made.output] == [
        "message", "function_call", "function_call", "message"
    ]  # fmt: skip
    written = made.output[1]
    assert written.type == "function_call"
    assert written.name == "write_file"
    generation = await place.ended(generation_of(made.id))
    [file] = generation["output"]["files"]
    assert json.loads(written.arguments) == {
        name: file[name] for name in ("path", "bytes", "sha256")
    }
    assert made.output_text == generation["output"]["text"]
    async with client.responses.stream(response_id=made.id) as helper:
        again = await helper.get_final_response()
    assert [item.id for item in again.output] == [item.id for item in made.output]
    assert again.output_text == made.output_text
    refine = {"rounds": [{"text": "ok", "calls": [
        {"name": "delete_file", "arguments": {"path": "persona.md"}},
        {"name": "write_file", "arguments": {"path": "b.md", "content": "b"}},
    ]}, {"text": "done"}]}  # fmt: skip
    continued = await client.responses.create(
        model="demo-fast-dictated", input=json.dumps(refine), previous_response_id=made.id
    )
    assert [one.name for one in continued.output if one.type == "function_call"] == [
        "delete_file", "write_file"
    ]  # fmt: skip
    assert (await place.ended(generation_of(continued.id)))["kind"] == "refine"
    refined = await client.responses.create(
        model="demo-fast-dictated", input='{"rounds":[{"text":"hi"}]}',
        metadata={"relay_kind": "refine", "relay_persona_id": generation["persona_id"]},
    )  # fmt: skip
    assert refined.output_text == "hi"


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("demo-fast-truncated-after-3", "failed", "model_truncated"),
        ("demo-fast-empty", "failed", "empty_answer"),
    ],
)
async def test_a_failure_is_a_response_that_says_so(
    client: Any, model: str, status: str, code: str
) -> None:
    created = await create(client, model)
    events = await events_of(client, created.id)
    assert events[-1].type == "response.failed"
    failed = await client.responses.retrieve(created.id)
    assert failed == events[-1].response
    assert failed.status == status
    assert failed.error is not None
    assert failed.error.code == "server_error"
    assert failed.error.message.startswith(f"{code}: ")


async def test_a_worker_that_stops_once_something_was_told_is_a_failure(place: Place) -> None:
    worker = await place.work.hire(grace=0)
    seen: list[Any] = []
    async with async_client_of(place.url) as client:
        async for event in await client.responses.create(
            model="demo-echo-pace-20", input=SAID, background=True, stream=True
        ):
            seen.append(event)
            if deltas(seen) and not worker.stop.is_set():
                worker.stop.set()
                await place.work.hire()
        await worker.dismiss()
        assert await events_of(client, seen[0].response.id) == seen
    assert seen[-1].type == "response.failed"
    assert seen[-1].response.error.message.startswith("worker_lost: ")
    told = deltas(seen)
    assert told == seen[-1].response.output_text
    assert told == await place.committed(generation_of(seen[0].response.id))
    assert 0 < len(told) < len(SAID)


async def test_the_model_is_the_one_that_is_named_if_it_is_offered(place: Place) -> None:
    await place.work.hire()
    async with async_client_of(place.url) as client:
        assert (await create(client, "demo-fast-echo")).model == "demo-fast-echo"
        assert (await client.models.retrieve("demo-fast-echo")).id == "demo-fast-echo"
        default = place.work.settings.relay_model
        assert [model.id async for model in client.models.list()] == [default]


async def test_a_client_that_leaves_while_it_waits_stops_nothing_and_holds_nothing(
    place: Place,
) -> None:
    await place.work.hire()
    body = json.dumps({"model": "demo-echo-pace-40", "input": SAID}).encode()
    headers = "Host: relay\r\nContent-Type: application/json\r\n"
    host, port = place.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /openai/v1/responses HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await eventually(lambda: _is_answering(place))
    writer.transport.abort()
    [one] = (await place.http.get("/v1/generations")).json()["data"]
    assert one["state"] in ("queued", "running")
    assert await place.committed(one["id"]) == SAID


async def _is_answering(place: Place) -> bool:
    return await place.work.upstreams() == 1
