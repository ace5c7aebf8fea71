"""No secret is told by a log, an error or an answer, also where things fail."""

import logging
import os

import pytest

from jobs.database import database_url
from jobs.provider import Provider
from jobs.settings import InvalidSetting
from relay.cli import run
from relay.settings import read_relay_settings
from tests.relay.conftest import OpenRelay
from tests.services import free_port

HUSH = "hush-Qx7"
KEY = f"sk-{HUSH}-model-key"


@pytest.fixture
def environment() -> dict[str, str]:
    """Secrets everywhere, and nothing that answers where they lead."""
    nowhere = free_port()
    return {
        "RELAY_SECRET": f"{HUSH}-signing",
        "RELAY_DATABASE_URL": f"postgresql+asyncpg://me:{HUSH}-pg@127.0.0.1:{nowhere}/db",
        "RELAY_REDIS_URL": f"redis://me:{HUSH}-redis@127.0.0.1:{nowhere}/0",
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{nowhere}/v1",
        "RELAY_MODEL": "m",
    }


@pytest.mark.parametrize("words", ["doctor", "migrate", "tokens list", "generations list"])
def test_a_command_that_fails_names_no_secret(
    words: str,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in os.environ:
        if name.startswith(("RELAY_", "OPENAI_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(words.split()) == 1
    told = "".join(capfd.readouterr())
    assert told
    assert HUSH not in told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RELAY_DATABASE_URL", f"mysql://me:{HUSH}@h/db"),
        ("RELAY_DATABASE_URL", f"postgresql://me:{HUSH}@h:port/db"),
        ("RELAY_REDIS_URL", f"http://me:{HUSH}@h"),
        ("RELAY_REDIS_URL", f"redis://me:{HUSH}@h:port/0"),
        ("OPENAI_BASE_URL", f"ftp://me:{HUSH}@h"),
        ("OPENAI_API_KEY", f"{KEY}\n"),
        ("OPENAI_API_KEY", f"é{KEY}"),
    ],
)
async def test_a_wrong_value_is_told_without_it(
    variable: str, value: str, environment: dict[str, str]
) -> None:
    async def begin() -> None:
        settings = read_relay_settings(environment | {variable: value}).jobs
        database_url(settings.relay_database_url)
        async with Provider.open(settings):
            pass

    with pytest.raises(InvalidSetting) as told:
        await begin()
    assert told.value.variable == variable
    assert HUSH not in str(told.value)


async def test_a_request_that_fails_inside_logs_neither_token_nor_ticket(
    open_relay: OpenRelay, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    caplog.set_level(logging.DEBUG)
    async with open_relay(RELAY_AUTH="token") as relay:
        headers = await relay.bearer("admin")
        token = headers["Authorization"].removeprefix("Bearer ")
        made = await relay.client.post(
            "/v1/generations", json={"kind": "chat", "input": "hello"}, headers=headers
        )
        signed = await relay.client.post(
            f"/v1/generations/{made.json()['id']}/ticket", headers=headers
        )
        url = signed.json()["url"]
        ticket = url.partition("ticket=")[2]
        monkeypatch.setattr("relay.routes.generations.read_stream_row", fail)
        monkeypatch.setattr("relay.routes.generations.list_generations", fail)
        answers = [
            await relay.client.get(url),
            await relay.client.get("/v1/generations", headers=headers),
            await relay.client.get(f"{url}x"),
            await relay.client.get(
                "/v1/generations", headers={"Authorization": f"Bearer {token}x"}
            ),
        ]
        assert [answer.status_code for answer in answers] == [500, 500, 401, 401]
        # httpx is the client here, and tells its own requests.
        told = "\n".join(
            f"{one.getMessage()} {one.exc_text or ''} {one.__dict__}"
            for one in caplog.records
            if not one.name.startswith(("httpx", "httpcore"))
        )
        assert "a defect" in told
        for secret in (token, ticket, ticket.partition(".")[2]):
            assert secret not in told
            assert not any(secret in answer.text for answer in answers)
