"""No page of another site borrows a browser's way to a relay that asks for no token."""

import httpx
import pytest

from relay.cross_site import refuse_cross_site
from relay.errors import CrossSite
from tests.relay.conftest import OpenRelay
from tests.relay.edge import EdgeRelay

CHAT = {"kind": "chat", "input": "hello"}
OURS, THEIRS = "http://relay", "https://evil.example"
FROM_ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": THEIRS},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://other.relay"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
    {"Origin": THEIRS},
    {"Origin": "null"},
    {"Origin": "http://relay:8001"},
]
FROM_HERE: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": OURS},
    {"Sec-Fetch-Site": "none"},
    {"Origin": OURS},
    {"Origin": "https://relay"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
async def test_another_sites_page_changes_nothing(
    relay: EdgeRelay, headers: dict[str, str]
) -> None:
    made = await relay.chat()
    persona = (await relay.persona())["persona_id"]
    stored = await relay.stored()
    for method, path, body in (
        ("POST", "/v1/generations", CHAT),
        ("POST", "/v1/generations?stream=true", CHAT),
        ("POST", "/v1/personas", {"name": "Ada", "brief": "an engineer"}),
        ("POST", f"/v1/generations/{made['id']}/cancel", None),
        ("POST", f"/v1/generations/{made['id']}/ticket", None),
        ("DELETE", f"/v1/personas/{persona}", None),
    ):
        answer = await relay.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert await relay.stored() == stored
    assert (await relay.client.get(made["events_url"].removesuffix("/events"))).json() == made
    assert (await relay.client.get(f"/v1/personas/{persona}")).status_code == 200


@pytest.mark.parametrize("headers", FROM_HERE)
async def test_the_own_page_and_what_is_no_browser_may(
    relay: EdgeRelay, headers: dict[str, str]
) -> None:
    answer = await relay.client.post("/v1/generations", json=CHAT, headers=headers)
    assert answer.status_code == 202


async def test_a_configured_origin_may_change_things(open_relay: OpenRelay) -> None:
    async with open_relay(RELAY_ALLOWED_ORIGINS=THEIRS) as relay:
        headers = {"Origin": THEIRS, "Sec-Fetch-Site": "cross-site"}
        answer = await relay.client.post("/v1/generations", json=CHAT, headers=headers)
        assert answer.status_code == 202
        headers["Origin"] = "https://evil.example.org"
        answer = await relay.client.post("/v1/generations", json=CHAT, headers=headers)
        assert answer.status_code == 403


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_form_of_any_site_is_no_request_of_the_api(
    relay: EdgeRelay, media_type: str
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    for path in ("/v1/generations", "/v1/personas"):
        answer = await relay.client.post(path, content=b'{"kind":"chat"}', headers=headers)
        assert answer.status_code == 415


async def test_no_cookie_is_ever_set_and_none_logs_in(guarded: EdgeRelay) -> None:
    bearer = await guarded.bearer("generate")
    token = bearer["Authorization"].removeprefix("Bearer ")
    for path in ("/", "/docs", "/v1/generations"):
        answer = await guarded.client.get(path, headers=bearer)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    for name in ("token", "authorization", "session"):
        cookie = {"Cookie": f"{name}={token}"}
        assert (await guarded.client.get("/v1/generations", headers=cookie)).status_code == 401


def test_reading_is_not_refused_for_the_other_page_never_sees_the_answer() -> None:
    elsewhere = {"sec-fetch-site": "cross-site", "origin": THEIRS, "host": "relay"}
    for method in ("GET", "HEAD", "OPTIONS"):
        refuse_cross_site(method, elsewhere, ())
    for method in ("POST", "DELETE", "PUT", "PATCH"):
        with pytest.raises(CrossSite):
            refuse_cross_site(method, elsewhere, ())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("[::2]:8000", 421),
        ("", 421),
    ],
)
async def test_a_relay_that_knows_its_names_answers_under_no_other(
    open_relay: OpenRelay, host: str, status: int
) -> None:
    async with open_relay(RELAY_ALLOWED_HOSTS="localhost, [::1]") as relay:
        assert (await relay.client.get("/healthz", headers={"Host": host})).status_code == 200
        for path in ("/", "/v1/generations", "/metrics"):
            answer = await relay.client.get(path, headers={"Host": host})
            assert answer.status_code == status
            if status == 421:
                assert answer.json()["code"] == "wrong_host"
                assert answer.headers["x-request-id"]


async def test_a_browser_that_was_sent_here_under_another_name_gets_nothing(
    open_relay: OpenRelay,
) -> None:
    async with (
        open_relay(RELAY_ALLOWED_HOSTS="127.0.0.1") as relay,
        relay.live() as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        rebound = {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/v1/generations", json=CHAT, headers=rebound)).status_code == 421
        assert await relay.stored() == 0
        assert (await client.post("/v1/generations", json=CHAT)).status_code == 202
