"""`relay.js` in a page of another origin, which holds tickets that its own server asked for."""

import asyncio
from pathlib import Path

import httpx
from playwright.async_api import Browser

from jobs.store.tokens import create_token, revoke_token
from relay.app import create_app
from relay.settings import RelaySettings
from tests.browser.stage import open_stage
from tests.clients.cutter import Cut, Cutter
from tests.clients.place import WITHIN
from tests.jobs.at_work import OWNER, at_work
from tests.services import live_server

FOLLOW = """async ([root, id]) => {
  const { follow } = await import("/web/relay.js");
  window.text = "";
  const reader = follow(id, {
    root,
    ticket: () => window.askOwnServer(id),
    onEvent({ type, data }) {
      if (type === "token") window.text += data.text;
      if (type === "reset") window.text = "";
    },
  });
  const { state } = await reader.done;
  return { state, text: window.text };
}"""


async def test_a_page_of_another_origin_follows_with_tickets_over_a_cut_and_a_revoked_token(
    redis_url: str, sqlite_url: str, tmp_path: Path, chromium: Browser
) -> None:
    async with open_stage() as theirs, at_work(redis_url, sqlite_url, tmp_path) as work:
        settings = RelaySettings(
            jobs=work.settings,
            relay_auth="token",
            relay_secret="a secret of the tests, long enough",
            relay_allowed_origins=theirs.url,
        )
        cutter = Cutter(create_app(settings))
        async with live_server(cutter) as url, httpx.AsyncClient(base_url=url) as server:
            plan = cutter.plan(Cut(40))
            rows = [await create_token(work.db, "theirs", OWNER, ["read"], None) for _ in "ab"]
            tokens = [token for token, _ in rows]
            asked: list[str] = []

            async def ticket(ident: str) -> str:
                bearer = tokens[min(len(asked), 1)]
                headers = {"Authorization": f"Bearer {bearer}"}
                answer = await server.post(f"/v1/generations/{ident}/ticket", headers=headers)
                asked.append(answer.raise_for_status().json()["url"])
                return f"{url}{plan.path}{asked[-1]}"

            context = await chromium.new_context()
            page = await context.new_page()
            await page.goto(theirs.url)
            await page.expose_function("askOwnServer", ticket)
            generation = await work.ask("Count", model="demo-tokens-80-30")
            await work.hire()
            following = asyncio.create_task(page.evaluate(FOLLOW, [url, generation.id]))
            await page.wait_for_function("window.text?.includes('t3 ')")
            # What signed the first ticket is gone before the stream is cut: it opens nothing more.
            await revoke_token(work.db, tokens[0][:12])
            async with asyncio.timeout(WITHIN):
                told = await following
            await context.close()
            bearer = {"Authorization": f"Bearer {tokens[1]}"}
            path = f"/v1/generations/{generation.id}"
            stored = (await server.get(path, headers=bearer)).json()
    assert told == {"state": "completed", "text": stored["output"]["text"]}
    assert told["text"].split() == [f"t{number}" for number in range(1, 81)]
    assert plan.made == 1
    assert len(set(asked)) == 2
    # A browser asks first whether it may send the cursor.
    assert "OPTIONS" in [method for method, _, _ in plan.requests]
    assert plan.requests[-1][2]
