"""The relay inside an application: its sign-in decides, and it enqueues without HTTP."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from jobs.errors import (
    CascadeTooDeep,
    GenerationActive,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    OverBudget,
)
from jobs.settings import InvalidSetting
from jobs.store.reads import list_generations
from relay.app import create_app
from relay.auth import Access, access_of
from relay.enqueue import enqueue
from relay.errors import InvalidField
from relay.settings import read_relay_settings
from tests.jobs.at_work import Work, at_work
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay
from tests.services import live_server

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    """The example as its reader runs it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["custom_kind", "embed_fastapi", "enqueue"])
def test_an_example_has_less_than_forty_lines_of_code(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text().split('"""', 2)[2].splitlines()
    assert len([line for line in lines if line.strip()]) < 40


@pytest.fixture
def environment(migrated_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the examples are run with."""
    monkeypatch.setenv("RELAY_SECRET", "a secret of the tests")
    monkeypatch.setenv("RELAY_MODEL", "demo-fast")
    monkeypatch.setenv("RELAY_DATABASE_URL", migrated_url)
    monkeypatch.setenv("RELAY_REDIS_URL", redis_url)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("auth", ["token", "off"])
async def test_a_hosts_users_reach_what_is_theirs_and_nothing_else(
    auth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_AUTH", auth)
    async with live_server(example("embed_fastapi").app) as url, httpx.AsyncClient() as client:
        ann, bob = ({"X-API-Key": f"key-of-{name}"} for name in ("ann", "bob"))
        body = {"kind": "chat", "input": "hi"}
        made = await client.post(f"{url}/ai/v1/generations", json=body, headers=ann)
        assert made.status_code == 202
        path = made.headers["location"]
        assert path == f"/ai/v1/generations/{made.json()['id']}"
        assert (await client.get(url + path, headers=ann)).status_code == 200
        assert (await client.get(url + path, headers=bob)).status_code == 404
        for nobody in ({}, {"X-API-Key": "x"}, {"Authorization": "Bearer prt_0123456789"}):
            refused = await client.get(url + path, headers=nobody)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        # Its browsers follow with a ticket, which their EventSource can send.
        ticket = (await client.post(f"{url}{path}/ticket", headers=ann)).json()["url"]
        assert (await client.head(f"{url}/ai{ticket}")).status_code == 200
        assert (await client.head(f"{url}/ai{ticket[:-2]}xx")).status_code == 401
        page = {**ann, "Sec-Fetch-Site": "cross-site"}
        assert (await client.post(f"{url}{path}/cancel", headers=page)).status_code == 403
        assert (await client.post(f"{url}{path}/cancel", headers=ann)).status_code == 200


async def test_a_host_can_withhold_a_scope(open_relay: OpenRelay) -> None:
    async def reads(request: Request) -> Access:
        return access_of("ann", "read")

    async with open_relay() as relay:
        app = create_app(services=relay.services, authenticate=reads)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://relay") as client,
        ):
            assert (await client.get("/v1/generations")).status_code == 200
            refused = await client.post("/v1/generations", json={"kind": "chat", "input": "hi"})
            assert refused.json()["code"] == "missing_scope"


@pytest.mark.parametrize("auth", ["off", "token"])
def test_a_host_that_signs_in_needs_a_secret_for_its_tickets(auth: str) -> None:
    async def nobody(request: Request) -> None:
        return None

    with pytest.raises(InvalidSetting, match="RELAY_SECRET"):
        create_app(read_relay_settings({"RELAY_AUTH": auth}), authenticate=nobody)


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A worker, and a scripted model."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        await work.hire()
        yield work


async def test_the_example_enqueues_and_what_follows_from_it(
    work: Work, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_AUTH", "off")
    monkeypatch.setenv("RELAY_MODEL", "demo-fast")
    monkeypatch.setenv("RELAY_DATABASE_URL", work.settings.relay_database_url)
    monkeypatch.setenv("RELAY_REDIS_URL", work.settings.relay_redis_url)
    await example("enqueue").main("Name three rivers")
    second, first = (await list_generations(work.db, "ann")).data
    assert [first.state, second.state] == ["completed", "completed"]
    assert first.output is not None
    assert second.output is not None
    assert second.input == f"Shorten: {first.output.text}"
    assert capsys.readouterr().out == f"{second.output.text}\n"


async def test_what_is_enqueued_passes_the_limits_and_the_guard(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="3") as relay:
        services = relay.services
        first = await enqueue(services, owner="ann", input="one")
        caused = await enqueue(services, owner="ann", input="two", caused_by=first.id)
        with pytest.raises(CascadeTooDeep):
            await enqueue(services, owner="ann", input="three", caused_by=caused.id)
        with pytest.raises(NotFound):
            await enqueue(services, owner="bob", input="three", caused_by=first.id)
        await enqueue(services, owner="ann", input="three")
        with pytest.raises(OverBudget):
            await enqueue(services, owner="ann", input="four")
        assert await services.queue.depth() == 3
        assert len((await list_generations(services.db, "ann")).data) == 3


async def test_the_same_key_gives_the_same_generation(relay: EdgeRelay) -> None:
    given: dict[str, Any] = {"owner": "ann", "input": "one", "idempotency_key": "k"}
    first = await enqueue(relay.services, **given)
    again = await enqueue(relay.services, **given)
    assert again.id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await enqueue(relay.services, **{**given, "input": "two"})
    with pytest.raises(GenerationActive):
        await enqueue(relay.services, owner="ann", input="x", conversation_id=first.conversation_id)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"input": " "}, InvalidRequest),
        ({"input": "x" * 100_001}, InvalidRequest),
        ({"kind": "nonsense"}, InvalidRequest),
        ({"kind": "refine"}, InvalidRequest),
        ({"model": "not-offered"}, InvalidField),
        ({"conversation_id": "con_x"}, NotFound),
    ],
)
async def test_what_can_not_be_taken_is_refused_and_nothing_is_stored(
    wrong: dict[str, Any], error: type[Exception], relay: EdgeRelay
) -> None:
    with pytest.raises(error):
        await enqueue(relay.services, **{"owner": "ann", "input": "hi", **wrong})
    assert await relay.stored() == 0
