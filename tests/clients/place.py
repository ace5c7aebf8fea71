"""What a client is tried against: a relay on a real socket that cuts streams where told to."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from relay.app import create_app
from relay.settings import RelaySettings
from tests.clients.cutter import Cut, Cutter, Plan
from tests.jobs.at_work import Work, at_work
from tests.relay.heard import Heard, heard, numbered
from tests.services import eventually, live_server

WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """The relay's address, a client of the native API, and the hands behind it."""

    url: str
    http: httpx.AsyncClient
    cutter: Cutter
    work: Work

    def plan(self, *cuts: Cut) -> Plan:
        """A client's own address below the relay's, whose streams are cut so."""
        return self.cutter.plan(*cuts)

    async def connected(self, plans: Iterable[Plan]) -> None:
        """Returns once each of these clients has asked for something."""
        await eventually(lambda: all(plan.requests for plan in plans), within=WITHIN)

    async def chat(self, said: str, model: str) -> str:
        """The id of a chat that was just started."""
        body = {"kind": "chat", "input": said, "model": model}
        return await self._started("/v1/generations", body)

    async def persona(self, brief: str, model: str) -> str:
        """The id of the generation that makes a persona of this brief."""
        return await self._started("/v1/personas", {"name": "Ada", "brief": brief, "model": model})

    async def ended(self, generation_id: str) -> dict[str, Any]:
        """The resource once it has ended."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            found.update((await self.http.get(f"/v1/generations/{generation_id}")).json())
            return found["state"] not in ("queued", "running")

        await eventually(has_ended, within=WITHIN)
        return found

    async def told(self, generation_id: str) -> list[Heard]:
        """Every event of an ended generation's last attempt, as a reader that comes late has it."""
        answer = await self.http.get(f"/v1/generations/{generation_id}/events")
        return numbered(heard([answer.content]))

    async def committed(self, generation_id: str) -> str:
        """The text of the assistant turn that was committed."""
        generation = await self.ended(generation_id)
        path = f"/v1/conversations/{generation['conversation_id']}"
        turns = (await self.http.get(path)).json()["turns"]
        found = [turn["text"] for turn in turns if turn["generation_id"] == generation_id]
        return str(found[-1])

    async def generations(self) -> int:
        """How many were ever begun, up to a hundred."""
        return len((await self.http.get("/v1/generations?limit=100")).json()["data"])

    async def _started(self, path: str, body: dict[str, Any]) -> str:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


@asynccontextmanager
async def open_place(
    redis_url: str,
    database_url: str,
    directory: Path,
    *,
    origins: tuple[str, ...] = (),
    **changed: Any,
) -> AsyncIterator[Place]:
    """A place until the block ends; its workers are hired by whoever needs them.

    `origins` are those whose pages are let in, `changed` settings of the jobs by field name.
    """
    async with at_work(redis_url, database_url, directory, **changed) as work:
        settings = RelaySettings(
            jobs=work.settings,
            relay_auth="off",
            relay_owner_streams=0,
            relay_allowed_origins=",".join(origins),
        )
        cutter = Cutter(create_app(settings))
        async with (
            live_server(cutter) as url,
            httpx.AsyncClient(base_url=url, timeout=WITHIN) as http,
        ):
            yield Place(url, http, cutter, work)
