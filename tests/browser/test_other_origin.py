"""A page elsewhere, which holds a ticket and nothing else."""

from pathlib import Path

import httpx
from playwright.async_api import Browser

from jobs.database import Database
from jobs.store.tokens import create_token
from tests.browser.stage import blank_page, open_stage
from tests.chaos.system import open_system
from tests.services import RedisServer

FOLLOW_WITH_A_TICKET = """async ([root, id, url]) => {
  const { follow } = await import(new URL("/web/relay.js", location.href).href);
  let text = "";
  const onEvent = ({ type, data }) => { if (type === "token") text += data.text; };
  const final = await follow(id, { root, ticket: async () => url, onEvent }).done;
  return [text, final.state];
}"""


async def test_a_page_of_an_allowed_origin_follows_with_a_ticket_alone(
    chromium: Browser, redis_server: RedisServer, tmp_path: Path
) -> None:
    """And a page of any other origin is told nothing."""
    database = f"sqlite+aiosqlite:///{tmp_path}/relay.db"
    async with (
        open_stage() as stage, open_stage() as stranger, Database.open(database) as db,
        open_system(
            redis_server, database, tmp_path,
            auth="token", secret="s" * 32, allowed_origins=stage.url,
        ) as system,
    ):  # fmt: skip
        secret, _ = await create_token(db, "me", "me", {"generate"}, None)
        bearer = {"authorization": f"Bearer {secret}"}
        root = f"{system.relays[0].url}/"
        async with httpx.AsyncClient(base_url=root, headers=bearer) as client:
            body = {"kind": "chat", "input": "Hello", "model": "demo-tokens-20-20"}
            made = (await client.post("v1/generations", json=body)).raise_for_status().json()
            answer = await client.post(f"v1/generations/{made['id']}/ticket")
            url = answer.raise_for_status().json()["url"]
        context = await chromium.new_context()
        page = await blank_page(context, stage)
        told, state = await page.evaluate(FOLLOW_WITH_A_TICKET, [root, made["id"], url])
        assert state == "completed"
        assert told.split() == [f"t{number}" for number in range(1, 21)]
        other = await blank_page(context, stranger)
        refused = await other.evaluate(
            "url => fetch(url).then(() => 'read', (error) => error.name)",
            f"{root.rstrip('/')}{url}",
        )
        assert refused == "TypeError"
        await context.close()
