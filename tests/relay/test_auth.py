"""Who may do what: tokens, their scopes, tickets, and what a revocation ends."""

import asyncio
from datetime import UTC, datetime

import anyio
import httpx
import pytest
from freezegun import freeze_time

from jobs.errors import Unavailable
from jobs.store.tokens import create_token, revoke_token
from relay.auth import implied_scopes
from relay.revocation import CHECK_SECONDS, end_revoked_streams, watch_revocations
from relay.tickets import Ticket, sign_ticket
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay

CHAT = {"kind": "chat", "input": "hello"}
GENERATION = "gen_00000000000000000000000000"


async def made_chat(relay: EdgeRelay, headers: dict[str, str]) -> dict[str, str]:
    """A chat of the owner of these credentials."""
    answer = await relay.client.post("/v1/generations", json=CHAT, headers=headers)
    assert answer.status_code == 202
    made: dict[str, str] = answer.json()
    return made


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer prt_",
        "Bearer prt_unknownunknownunknown",
        "Bearer prt_" + "x" * 5000,
        "Basic cHJ0Xw==",
        "prt_unknownunknownunknown",
        "Bearer sk-other",
    ],
)
async def test_missing_or_bad_credentials_are_401_with_a_challenge(
    guarded: EdgeRelay, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in [("GET", "/v1/generations"), ("GET", f"/v1/generations/{GENERATION}")]:
        answer = await guarded.client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="persona-relay"')
        assert ("invalid_token" in challenge) is (header is not None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/"])
async def test_what_needs_no_credentials_wants_none(guarded: EdgeRelay, path: str) -> None:
    assert (await guarded.client.get(path)).status_code in (200, 503)


async def test_a_token_in_an_address_is_none(guarded: EdgeRelay) -> None:
    token = (await guarded.bearer("admin"))["Authorization"].removeprefix("Bearer ")
    for name in ("ticket", "token", "access_token", "api_key", "authorization"):
        for path in ("/v1/generations", f"/v1/generations/{GENERATION}/events"):
            assert (await guarded.client.get(path, params={name: token})).status_code == 401


async def test_the_scheme_of_a_token_is_read_in_any_case(guarded: EdgeRelay) -> None:
    token = (await guarded.bearer("read"))["Authorization"].removeprefix("Bearer ")
    headers = {"Authorization": f"bearer  {token}"}
    assert (await guarded.client.get("/v1/generations", headers=headers)).status_code == 200


def test_generate_implies_read_and_admin_both() -> None:
    assert implied_scopes(["read"]) == {"read"}
    assert implied_scopes(["generate"]) == {"read", "generate"}
    assert implied_scopes(["admin"]) == {"read", "generate", "admin"}
    assert implied_scopes(["dance"]) == frozenset()
    assert implied_scopes([]) == frozenset()


@pytest.mark.parametrize(
    ("scope", "reads", "generates"),
    [("read", 200, 403), ("generate", 200, 202), ("admin", 200, 202), ("dance", 403, 403)],
)
async def test_a_scope_reaches_what_it_implies(
    guarded: EdgeRelay, scope: str, reads: int, generates: int
) -> None:
    headers = await guarded.bearer(scope)
    assert (await guarded.client.get("/v1/generations", headers=headers)).status_code == reads
    answer = await guarded.client.post("/v1/generations", json=CHAT, headers=headers)
    assert answer.status_code == generates
    if generates == 403:
        assert answer.json()["code"] == "missing_scope"
        assert 'scope="generate"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/generations"),
        ("POST", "/v1/personas"),
        ("POST", "/v1/personas/per_00000000000000000000000000/refine"),
        ("DELETE", "/v1/personas/per_00000000000000000000000000"),
        ("POST", f"/v1/generations/{GENERATION}/cancel"),
    ],
)
async def test_what_changes_something_needs_the_scope_generate(
    guarded: EdgeRelay, method: str, path: str
) -> None:
    answer = await guarded.client.request(method, path, headers=await guarded.bearer("read"))
    assert answer.status_code == 403


async def test_without_authorization_everything_is_local_whatever_is_sent(
    relay: EdgeRelay,
) -> None:
    headers = {"Authorization": "Bearer prt_unknownunknown"}
    made = await made_chat(relay, headers)
    assert (await relay.client.get(f"/v1/generations/{made['id']}")).status_code == 200


async def test_a_revoked_token_is_refused_from_the_next_request_on(guarded: EdgeRelay) -> None:
    headers = await guarded.bearer("read")
    assert (await guarded.client.get("/v1/generations", headers=headers)).status_code == 200
    prefix = headers["Authorization"].removeprefix("Bearer ")[:12]
    await revoke_token(guarded.services.db, prefix)
    assert (await guarded.client.get("/v1/generations", headers=headers)).status_code == 401


async def test_an_expired_token_is_refused(guarded: EdgeRelay) -> None:
    token, _ = await create_token(guarded.services.db, "old", "alice", ["read"], 1)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await guarded.client.get("/v1/generations", headers=headers)).status_code == 401


async def test_a_ticket_opens_the_events_of_its_generation_without_a_header(
    guarded: EdgeRelay,
) -> None:
    headers = await guarded.bearer("generate")
    made = await made_chat(guarded, headers)
    await guarded.client.post(f"/v1/generations/{made['id']}/cancel", headers=headers)
    ticket = await guarded.client.post(f"/v1/generations/{made['id']}/ticket", headers=headers)
    assert ticket.status_code == 200
    assert set(ticket.json()) == {"url", "expires_at"}
    url = ticket.json()["url"]
    assert url.startswith(f"{made['events_url']}?ticket=")
    assert (await guarded.client.get(url)).status_code == 200
    after = await guarded.client.get(url, headers={"Last-Event-ID": "0.2.0"})
    assert after.status_code == 204


async def test_a_ticket_opens_nothing_else(guarded: EdgeRelay) -> None:
    headers = await guarded.bearer("generate")
    made, other = await made_chat(guarded, headers), await made_chat(guarded, headers)
    answer = await guarded.client.post(f"/v1/generations/{made['id']}/ticket", headers=headers)
    query = answer.json()["url"].partition("?")[2]
    for path in (
        f"/v1/generations/{other['id']}/events",
        f"/v1/generations/{made['id']}",
        "/v1/generations",
        "/v1/feed",
    ):
        assert (await guarded.client.get(f"{path}?{query}")).status_code == 401


async def test_a_ticket_lives_ten_minutes(guarded: EdgeRelay) -> None:
    headers = await guarded.bearer("generate")
    with freeze_time("2026-01-01T12:00:00Z", real_asyncio=True) as clock:
        made = await made_chat(guarded, headers)
        await guarded.client.post(f"/v1/generations/{made['id']}/cancel", headers=headers)
        answer = await guarded.client.post(f"/v1/generations/{made['id']}/ticket", headers=headers)
        assert answer.json()["expires_at"] == "2026-01-01T12:10:00.000Z"
        clock.move_to("2026-01-01T12:09:59.999Z")
        assert (await guarded.client.get(answer.json()["url"])).status_code == 200
        clock.move_to("2026-01-01T12:10:00Z")
        assert (await guarded.client.get(answer.json()["url"])).status_code == 401


@pytest.mark.parametrize("text", ["", "x", "x.y", "a.b.c", "%00", "é", "x" * 5000])
async def test_a_forged_ticket_is_401_also_for_what_does_not_exist(
    guarded: EdgeRelay, text: str
) -> None:
    for generation_id in (GENERATION, "anything"):
        answer = await guarded.client.get(
            f"/v1/generations/{generation_id}/events", params={"ticket": text}
        )
        assert answer.status_code == 401


async def test_a_bad_header_is_not_mended_by_a_good_ticket(guarded: EdgeRelay) -> None:
    headers = await guarded.bearer("generate")
    made = await made_chat(guarded, headers)
    answer = await guarded.client.post(f"/v1/generations/{made['id']}/ticket", headers=headers)
    url = answer.json()["url"]
    refused = await guarded.client.get(url, headers={"Authorization": "Bearer prt_wrong"})
    assert refused.status_code == 401


async def test_a_ticket_ends_with_the_token_that_asked_for_it(guarded: EdgeRelay) -> None:
    headers = await guarded.bearer("generate")
    made = await made_chat(guarded, headers)
    answer = await guarded.client.post(f"/v1/generations/{made['id']}/ticket", headers=headers)
    await revoke_token(guarded.services.db, headers["Authorization"].removeprefix("Bearer ")[:12])
    assert (await guarded.client.get(answer.json()["url"])).status_code == 401


async def test_a_good_ticket_for_nothing_is_not_found(guarded: EdgeRelay) -> None:
    secret = guarded.services.settings.relay_secret or ""
    end = int(datetime.now(UTC).timestamp() * 1000) + 60_000
    ticket = sign_ticket(secret, GENERATION, Ticket("alice", None, end))
    answer = await guarded.client.get(f"/v1/generations/{GENERATION}/events?ticket={ticket}")
    assert answer.status_code == 404


async def test_the_open_streams_of_a_revoked_token_are_cut_and_no_others(
    open_relay: OpenRelay,
) -> None:
    async with open_relay(RELAY_AUTH="token") as relay, relay.live() as url:
        revoked, kept = await relay.bearer("generate"), await relay.bearer("generate")
        made = await made_chat(relay, revoked)
        ticket = await relay.client.post(f"/v1/generations/{made['id']}/ticket", headers=revoked)
        prefix = revoked["Authorization"].removeprefix("Bearer ")[:12]
        cut = [
            (made["events_url"], revoked),
            ("/v1/feed", revoked),
            (ticket.json()["url"], {}),
        ]
        opened = anyio.Event()
        waiting = len(cut) + 1

        async def read(path: str, headers: dict[str, str]) -> None:
            nonlocal waiting
            async with (
                httpx.AsyncClient(base_url=url) as client,
                client.stream("GET", path, headers=headers) as stream,
            ):
                lines = stream.aiter_lines()
                await anext(lines)
                waiting -= 1
                if not waiting:
                    opened.set()
                async for _ in lines:
                    pass

        reading = [asyncio.create_task(read(*one)) for one in cut]
        going_on = asyncio.create_task(read(made["events_url"], kept))
        await opened.wait()
        await end_revoked_streams(relay.services)
        assert len(relay.services.slots.token_prefixes()) == 2
        await revoke_token(relay.services.db, prefix)
        await end_revoked_streams(relay.services)
        for ended in await asyncio.gather(*reading, return_exceptions=True):
            # Cut, not ended: nobody may take it for the whole.
            assert isinstance(ended, httpx.RemoteProtocolError)
        assert not going_on.done()
        assert relay.services.slots.open_streams("alice") == 1
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)


async def test_a_relay_cuts_the_streams_of_a_revoked_token_by_itself(
    open_relay: OpenRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Within a minute: the look at the database that may be waited for comes on top.
    assert CHECK_SECONDS <= 45
    monkeypatch.setattr("relay.revocation.CHECK_SECONDS", 0.05)
    async with open_relay(RELAY_AUTH="token") as relay, relay.live() as url:
        headers = await relay.bearer("read")
        async with (
            httpx.AsyncClient(base_url=url) as client,
            client.stream("GET", "/v1/feed", headers=headers) as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            token = headers["Authorization"].removeprefix("Bearer ")
            await revoke_token(relay.services.db, token[:12])

            async def read_on() -> None:
                async for _ in lines:
                    pass

            with pytest.raises(httpx.RemoteProtocolError):
                await asyncio.wait_for(read_on(), 10)


async def test_a_database_that_is_away_cuts_nothing_and_the_watch_goes_on(
    guarded: EdgeRelay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0
    third = asyncio.Event()

    async def away(services: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            third.set()
        raise Unavailable("the database")

    monkeypatch.setattr("relay.revocation.CHECK_SECONDS", 0.001)
    monkeypatch.setattr("relay.revocation.end_revoked_streams", away)
    watch = asyncio.create_task(watch_revocations(guarded.services))
    async with asyncio.timeout(10):
        await third.wait()
    assert not watch.done()
    assert "could not be looked up" in caplog.text
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
