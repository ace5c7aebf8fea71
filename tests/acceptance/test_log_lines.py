"""Real processes log whose line it is, and never a secret, whatever fails."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jobs.database import Database, migrate
from jobs.store.tokens import create_token
from tests.services import Child, RedisServer, eventually, free_port, live_server

PROGRAM = str(Path(sys.executable).with_name("persona-relay"))
KEY = "sk-this-is-the-models-key"
SIGNING = "this-signs-the-tickets"
REDIS_PASSWORD = "this-opens-the-redis"
DATABASE_PASSWORD = "this-opens-the-database"


async def _telling(request: Request) -> Response:
    """A model's endpoint that repeats the credentials that it refuses."""
    said = f"bad key: {request.headers['authorization']}"
    return JSONResponse({"error": {"message": said, "code": "invalid_api_key"}}, 401)


@pytest.mark.timeout(90)
async def test_every_line_bears_its_ids_and_none_a_secret(
    start_redis: Callable[..., RedisServer], sqlite_url: str, tmp_path: Path
) -> None:
    server = start_redis()
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("requirepass", REDIS_PASSWORD)
    await migrate(sqlite_url)
    async with Database.open(sqlite_url) as database:
        token, row = await create_token(database, "t", "ann", ("generate",), None)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RELAY_")}
    app = Starlette(routes=[Route("/v1/chat/completions", _telling, methods=["POST"])])
    async with live_server(app) as model:
        environment = kept | {
            "RELAY_DATABASE_URL": sqlite_url,
            "RELAY_REDIS_URL": server.url.replace("://", f"://:{REDIS_PASSWORD}@"),
            "RELAY_SECRET": SIGNING,
            "RELAY_MODEL": "m",
            "RELAY_LOG_FORMAT": "json",
            "RELAY_JOURNAL_DIR": str(tmp_path / "journal"),
            "OPENAI_BASE_URL": f"{model}/v1",
            "OPENAI_API_KEY": KEY,
        }
        nowhere = f"postgresql+asyncpg://me:{DATABASE_PASSWORD}@127.0.0.1:{free_port()}/db"
        without = environment | {
            "RELAY_DATABASE_URL": nowhere,
            "RELAY_JOURNAL_DIR": str(tmp_path / "journal-2"),
        }
        outputs = [tmp_path / name for name in ("relay", "worker", "worker-2")]
        with (
            Child([PROGRAM, "serve", "--port", "0"], output=outputs[0], env=environment) as relay,
            Child([PROGRAM, "worker"], output=outputs[1], env=environment) as worker,
            Child([PROGRAM, "worker"], output=outputs[2], env=without) as second,
        ):
            await eventually(lambda: "relay is ready" in relay.text(), within=30)
            await eventually(lambda: "worker is ready" in worker.text(), within=30)
            await eventually(lambda: "not ready: waiting" in second.text(), within=30)
            found = re.search(r"http://127\.0\.0\.1:\d+", relay.text())
            assert found is not None
            generation_id, ticket = await _used(found[0], token)
            await eventually(lambda: "generation ended" in worker.text(), within=20)
            server.stop()
            await eventually(
                lambda: "subscribing connection to Redis: waiting" in relay.text(), within=20
            )
            await eventually(
                lambda: "subscribing connection to Redis: waiting" in worker.text(), within=20
            )
            texts = [relay.text(), worker.text(), second.text()]
    secret = [KEY, SIGNING, REDIS_PASSWORD, DATABASE_PASSWORD, token, token[len(row.prefix) :]]
    secret += [ticket, ticket.partition(".")[2]]
    assert [one for one in secret for text in texts if one in text] == []
    relay_lines, worker_lines = [
        [json.loads(one) for one in text.splitlines()] for text in texts[:2]
    ]
    [accepted] = [line for line in relay_lines if line["event"] == "generation accepted"]
    assert (accepted["request_id"], accepted["generation"]) == ("my-request", generation_id)
    [ended] = [line for line in worker_lines if line["event"] == "generation ended"]
    assert (ended["generation"], ended["attempt"]) == (generation_id, 1)
    assert (ended["outcome"], ended["code"]) == ("failed", "model_error")


async def _used(url: str, token: str) -> tuple[str, str]:
    """A generation that was asked for, its ticket used well and badly; its id and the ticket."""
    bearer = {"Authorization": f"Bearer {token}", "X-Request-Id": "my-request"}
    async with httpx.AsyncClient(base_url=url, timeout=15) as client:
        body = {"kind": "chat", "input": "Hello"}
        asked = await client.post("/v1/generations", json=body, headers=bearer)
        generation_id = str(asked.raise_for_status().json()["id"])
        made = await client.post(f"/v1/generations/{generation_id}/ticket", headers=bearer)
        events = str(made.raise_for_status().json()["url"])
        assert "failed" in (await client.get(events)).text
        assert (await client.get(events + "x")).status_code == 401
        wrong = {"Authorization": f"Bearer {token}x"}
        assert (await client.get("/v1/personas", headers=wrong)).status_code == 401
    return generation_id, httpx.URL(events).params["ticket"]
