"""An application's kind at every door of the relay: taken where it is known, else refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InvalidRequest
from jobs.generation import Generation
from jobs.settings import InvalidSetting
from jobs.store.reads import list_generations
from relay.app import create_app
from relay.enqueue import enqueue
from relay.settings import read_relay_settings
from tests.jobs.at_work import at_work
from tests.jobs.sample_kinds import SETTING
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay, open_edge
from tests.relay.test_embedding import EXAMPLES, example
from tests.services import eventually


@pytest.fixture
async def knowing(open_relay: OpenRelay) -> AsyncIterator[EdgeRelay]:
    """A relay that knows the application's kinds."""
    async with open_relay(RELAY_KINDS=SETTING) as relay:
        yield relay


DOORS: dict[str, Any] = {
    "/v1/generations": {"kind": "keeping", "input": "quietly"},
    "/v1/generations?stream=true": {"kind": "keeping", "input": "quietly"},
    "/openai/v1/responses": {
        "input": "quietly", "background": True, "metadata": {"relay_kind": "keeping"}
    },
    "/ai/chat": {
        "id": "c", "kind": "keeping",
        "message": {"role": "user", "parts": [{"type": "text", "text": "quietly"}]},
    },
    "/ag-ui": {
        "threadId": "t", "runId": "r", "forwardedProps": {"kind": "keeping"},
        "messages": [{"id": "m", "role": "user", "content": "quietly"}],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", DOORS)
async def test_every_door_refuses_an_unknown_kind_by_name_and_stores_nothing(
    relay: EdgeRelay, path: str
) -> None:
    refused = await relay.post(path, DOORS[path])
    assert refused.status_code in (400, 422)
    assert "kind" in refused.text
    assert "chat, generate, refine" in refused.text
    assert await relay.stored() == 0


@pytest.mark.parametrize("path", [path for path in DOORS if "stream" not in path])
async def test_every_door_lets_a_kind_refuse_its_input(knowing: EdgeRelay, path: str) -> None:
    body = json.loads(json.dumps(DOORS[path]).replace("quietly", "ALOUD"))
    refused = await knowing.post(path, body)
    assert refused.status_code in (400, 422)
    assert "is all capitals" in refused.text
    assert await knowing.stored() == 0


async def test_a_known_kind_is_stored_listed_and_counted(knowing: EdgeRelay) -> None:
    made = (await knowing.post("/v1/generations", DOORS["/v1/generations"])).json()
    chat = await knowing.chat()
    for kind, expected in (("keeping", made), ("chat", chat)):
        page = (await knowing.client.get(f"/v1/generations?kind={kind}")).json()["data"]
        assert [one["id"] for one in page] == [expected["id"]]
    refused = await knowing.client.get("/v1/generations?kind=foreign")
    assert (refused.status_code, refused.json()["field"]) == (422, "kind")
    figures = (await knowing.client.get("/metrics")).text
    assert 'relay_generations_accepted_total{kind="keeping"} 1.0' in figures


async def test_one_of_a_kind_that_is_not_known_any_more_is_read_all_the_same(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_KINDS=SETTING) as relay:
        made = (await relay.post("/v1/generations", DOORS["/v1/generations"])).json()
    async with open_relay() as relay:
        assert (await relay.client.get(f"/v1/generations/{made['id']}")).json() == made
        assert (await relay.client.get("/v1/generations")).json()["data"] == [made]
        conversation = await relay.client.get(f"/v1/conversations/{made['conversation_id']}")
        assert conversation.json()["active_generation"]["kind"] == "keeping"
        cancelled = await relay.client.post(f"/v1/generations/{made['id']}/cancel")
        assert cancelled.json()["state"] == "cancelled"


@pytest.mark.parametrize("field", ["persona_id", "name"])
async def test_it_takes_the_place_of_a_chat_and_no_other(knowing: EdgeRelay, field: str) -> None:
    body = {**DOORS["/v1/generations"], field: "per_00000000000000000000000000"}
    refused = await knowing.post("/v1/generations", body)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    persona = await knowing.persona()
    body = {**DOORS["/v1/generations"], "conversation_id": persona["conversation_id"]}
    refused = await knowing.post("/v1/generations", body)
    assert (refused.status_code, refused.json()["field"]) == (422, "conversation_id")


async def test_an_unfit_input_comes_before_an_unknown_id(knowing: EdgeRelay) -> None:
    body = {"kind": "keeping", "input": "ALOUD", "conversation_id": "con_none"}
    refused = await knowing.post("/v1/generations", body)
    assert (refused.status_code, refused.json()["field"]) == (422, "input")


async def test_a_thread_of_another_protocol_goes_on_with_the_kind_that_is_asked_for(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_KINDS=SETTING, RELAY_HEARTBEAT_SECONDS="0.1") as knowing:
        await two_runs(knowing)
        assert len({one.conversation_id for one in await everything(knowing)}) == 1


async def two_runs(knowing: EdgeRelay) -> None:
    """Two runs of a thread, both of the kind that they ask for, each answered."""
    for run in ("first", "second"):
        asked = {"runId": run, "forwardedProps": {"kind": "looking"}}
        body = {**DOORS["/ag-ui"], **asked}
        answering = asyncio.create_task(knowing.post("/ag-ui", body))

        async def is_stored() -> bool:
            return "queued" in {one.state for one in await everything(knowing)}

        await eventually(is_stored)
        newest = (await everything(knowing))[0]
        assert newest.kind == "looking"
        await knowing.complete(newest.id, "answered")
        assert "RUN_FINISHED" in (await answering).text


async def test_the_document_has_the_kinds_that_can_be_asked_for(knowing: EdgeRelay) -> None:
    document = (await knowing.client.get("/openapi.json")).json()
    bodies = document["components"]["schemas"]["CreateGeneration"]["oneOf"]
    places = {body["properties"]["kind"]["const"]: set(body["properties"]) for body in bodies}
    assert places["keeping"] == places["chat"]
    parameters = document["paths"]["/v1/generations"]["get"]["parameters"]
    [kind] = [one["schema"] for one in parameters if one["name"] == "kind"]
    assert kind["enum"] == [*places]
    assert "keeping" in document["components"]["schemas"]["Kind"]["description"]


async def test_it_is_enqueued_from_python_once_a_key(knowing: EdgeRelay) -> None:
    given: dict[str, Any] = {"owner": "ann", "kind": "keeping", "input": "quietly"}
    first = await enqueue(knowing.services, **given, idempotency_key="k")
    assert (await enqueue(knowing.services, **given, idempotency_key="k")).id == first.id
    assert first.kind == "keeping"
    for wrong in ({"kind": "foreign"}, {"kind": "Bad!"}, {"input": "ALOUD"}):
        with pytest.raises(InvalidRequest):
            await enqueue(knowing.services, **{**given, **wrong})
    assert len((await list_generations(knowing.services.db, "ann")).data) == 1


def test_a_wrong_setting_makes_no_app() -> None:
    settings = read_relay_settings({"RELAY_AUTH": "off", "RELAY_KINDS": "no_such_app:KINDS"})
    with pytest.raises(InvalidSetting, match="RELAY_KINDS: 'no_such_app:KINDS'"):
        create_app(settings)


async def test_the_example_keeps_its_summary_with_the_answer(
    redis_url: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    places = "custom_kind:SUMMARY"
    async with at_work(redis_url, database_url, tmp_path, relay_kinds=places) as work:
        summaries = example("custom_kind").summaries
        await work.db.write(lambda one: one.run_sync(summaries.metadata.drop_all))
        await work.db.write(lambda one: one.run_sync(summaries.metadata.create_all))
        await work.hire()
        environment = {
            "RELAY_AUTH": "off",
            "RELAY_MODEL": "demo-fast-echo",
            "RELAY_KINDS": places,
            "RELAY_DATABASE_URL": database_url,
            "RELAY_REDIS_URL": redis_url,
        }
        async with open_edge(read_relay_settings(environment)) as relay:
            short = await relay.post("/v1/generations", {"kind": "summary", "input": "short"})
            assert (short.status_code, short.json()["field"]) == (422, "input")
            text = "The tide comes in, and the tide goes out again, twice a day."
            made = await relay.post("/v1/generations", {"kind": "summary", "input": text})
            path = f"/v1/generations/{made.json()['id']}"

            async def is_over() -> bool:
                return bool((await relay.client.get(path)).json()["state"] == "completed")

            await eventually(is_over, within=10)
        rows = [tuple(row) for row in await work.db.fetch(summaries.select())]
        assert rows == [(made.json()["id"], "local", text)]
        [sent] = await work.requests()
        assert sent["messages"][0]["content"].startswith("Summarise")


async def everything(relay: EdgeRelay) -> tuple[Generation, ...]:
    """All generations, newest first."""
    return tuple((await list_generations(relay.services.db, "local")).data)
