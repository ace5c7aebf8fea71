"""What a relay tells Prometheus is what happened, and only an admin is told."""

import msgspec
import pytest

from jobs.errors import CascadeTooDeep, Unavailable
from jobs.generation import Kind
from jobs.store.breaker_notes import Place, Rule, note_failure
from jobs.store.intake import NewGeneration
from jobs.store.tokens import TokenRow, revoke_token
from jobs.store.workers import register_worker
from relay.accepting import accept_generation
from relay.recent_admins import MOST, RecentAdmins
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay
from tests.services import eventually, free_port
from tests.services.scrape import Scrape


async def scraped(relay: EdgeRelay, **headers: str) -> Scrape:
    """What it tells now."""
    answer = await relay.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scrape(answer.text)


async def test_only_an_admin_is_told(guarded: EdgeRelay) -> None:
    assert (await guarded.client.get("/metrics")).status_code == 401
    refused = await guarded.client.get("/metrics", headers=await guarded.bearer("generate"))
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    told = await scraped(guarded, **await guarded.bearer("admin"))
    assert told.value("relay_problems_total", code="unauthenticated") == 1
    assert told.value("relay_problems_total", code="missing_scope") == 1


async def test_what_is_accepted_refused_and_cancelled_is_counted(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_OWNER_GENERATIONS_PER_MINUTE="2") as relay:
        kept = {"kind": "chat", "input": "hello"}
        first = await relay.post("/v1/generations", kept, Idempotency_Key="k")
        again = await relay.post("/v1/generations", kept, Idempotency_Key="k")
        assert again.headers["idempotent-replay"] == "true"
        await relay.persona()
        over = await relay.post("/v1/generations", kept)
        assert over.status_code == 429
        await relay.post(f"/v1/generations/{first.json()['id']}/cancel", {})
        await relay.post("/v1/generations", {"kind": "song", "input": "la"})
        told = await scraped(relay)
    accepted = "relay_generations_accepted_total"
    assert told.value(accepted, kind="chat") == told.value(accepted, kind="generate") == 1
    refusals = "relay_budget_refusals_total"
    assert told.value(refusals, scope="owner", unit="generations") == told.value(refusals) == 1
    assert told.value("relay_problems_total", code="limit_exceeded") == 1
    assert told.value("relay_problems_total", code="invalid_request") == 1
    assert told.value("relay_generations_ended_total", kind="chat", outcome="cancelled") == 1
    assert told.value("relay_generations", state="queued") == 1


async def test_what_another_guard_refuses_is_counted_whichever_door_it_came_by(
    relay: EdgeRelay, caplog: pytest.LogCaptureFixture
) -> None:
    first = await relay.chat()
    again = {"kind": "chat", "input": "x", "conversation_id": first["conversation_id"]}
    assert (await relay.post("/v1/generations", again)).status_code == 409

    def caused(by: str) -> NewGeneration:
        return NewGeneration(owner="local", kind=Kind.CHAT, input="x", model="m", caused_by=by)

    second = await accept_generation(relay.services, caused(first["id"]))
    with pytest.raises(CascadeTooDeep):
        await accept_generation(relay.services, caused(second.generation.id))
    told = await scraped(relay)
    assert told.value("relay_guard_refusals_total", guard="one at a time") == 1
    assert told.value("relay_guard_refusals_total", guard="cascade") == 1
    assert "a cascade was refused" in caplog.text


async def test_an_interrupted_one_that_waited_is_counted_as_ended_here(relay: EdgeRelay) -> None:
    first = await relay.chat()
    await relay.chat("second", conversation_id=first["conversation_id"], on_active="queue")
    await relay.chat("third", conversation_id=first["conversation_id"], on_active="interrupt")
    told = await scraped(relay)
    assert told.value("relay_generations_ended_total", outcome="cancelled") == 2


async def test_the_whole_system_is_told_as_the_database_has_it(relay: EdgeRelay) -> None:
    db = relay.services.db
    await register_worker(db, "wrk_1", 12)
    await note_failure(db, Place("http://m", "big"), Rule(failures=1), jitter_seconds=0)
    await relay.chat()
    told = await scraped(relay)
    assert told.value("relay_database_up") == told.value("relay_redis_up") == 1
    assert told.value("relay_workers", state="alive") == 1
    assert told.value("relay_workers", state="silent") == 0
    assert told.value("relay_places") == 12
    assert told.value("relay_queue_depth") == 1
    assert told.value("relay_breaker", endpoint="http://m", model="big", state="open") == 1
    assert told.value("relay_breaker", model="big", state="closed") == 0


async def test_open_streams_are_told_by_kind(relay: EdgeRelay) -> None:
    assert (await scraped(relay)).value("relay_open_streams", kind="events") == 0
    with relay.services.slots.acquire("ann") as slot:
        assert (await scraped(relay)).value("relay_open_streams", kind="events") == 1
        slot.release()
    assert (await scraped(relay)).value("relay_open_streams", kind="events") == 0


async def test_what_the_relays_own_rescuer_ends_is_counted(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_QUEUE_EXPIRES_SECONDS="0.05", RELAY_LEASE_SECONDS="0.6") as relay:
        await relay.chat()
        rescues = relay.services.counts.rescues
        await eventually(lambda: rescues.expired == 1)
        told = await scraped(relay)
    assert told.value("relay_generations_ended_total", outcome="expired", code="not_started") == 1
    assert told.value("relay_rescues_total", duty="expired") == 1


async def test_without_the_database_the_relays_own_figures_are_told(
    open_relay: OpenRelay,
) -> None:
    nowhere = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none"
    async with open_relay(RELAY_DATABASE_URL=nowhere) as relay:
        told = await scraped(relay)
    assert told.value("relay_database_up") == 0
    assert told.value("relay_redis_up") == 1
    assert not told.has("relay_workers")


async def test_while_the_database_is_away_an_admin_that_it_knew_is_told_the_figures(
    guarded: EdgeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, stranger = await guarded.bearer("admin"), await guarded.bearer("admin")
    revoked, reader = await guarded.bearer("admin"), await guarded.bearer("read")
    for headers in (admin, revoked):
        await scraped(guarded, **headers)
    await revoke_token(guarded.services.db, revoked["Authorization"][7:19])
    assert (await guarded.client.get("/metrics", headers=revoked)).status_code == 401
    assert (await guarded.client.get("/v1/generations", headers=reader)).status_code == 200

    async def away(*_: object) -> None:
        raise Unavailable("the database")

    monkeypatch.setattr("relay.auth.authenticate", away)
    await scraped(guarded, **admin)
    for headers in (stranger, revoked, reader):
        assert (await guarded.client.get("/metrics", headers=headers)).status_code == 503
    # It opens figures alone.
    assert (await guarded.client.get("/v1/generations", headers=admin)).status_code == 503


def test_a_recent_admin_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RecentAdmins()
    lasting = TokenRow(
        prefix="prt_00000000", name="x", owner="ann", scopes=("admin",), expires_at=None,
        created_at="2026-01-01T00:00:00.000Z", last_used_at=None, revoked_at=None,
    )  # fmt: skip
    known.note("lasting", lasting)
    known.note("over", msgspec.structs.replace(lasting, expires_at="2026-01-02T00:00:00.000Z"))
    known.note("lesser", msgspec.structs.replace(lasting, scopes=("read",)))
    found = {token for token in ("lasting", "over", "lesser", "other") if known.recall(token)}
    assert found == {"lasting"}
    with monkeypatch.context() as hurried:
        hurried.setattr("relay.recent_admins.KEPT_SECONDS", -1.0)
        assert known.recall("lasting") is None
    for number in range(MOST + 1):
        known.note(str(number), lasting)
    assert known.recall("0") is None
    assert known.recall(str(MOST)) is not None
