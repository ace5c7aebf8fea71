"""A relay as its tests see it: a client in the same process, its services, and counted rows."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import func, select
from starlette.applications import Starlette

from jobs.generation import State
from jobs.store.claims import claim
from jobs.store.commits import Committed, Outcome, commit
from jobs.store.persona_changes import PersonaChange
from jobs.store.tokens import create_token
from jobs.store.workers import register_worker
from jobs.tables import conversations, generations, personas, turns
from jobs.timeline import pack
from relay.app import create_app
from relay.services import Services
from relay.settings import RelaySettings
from tests.services.live_server import live_server

WORKER = "wrk_00000000000000000000000000"


@dataclass(frozen=True, slots=True)
class EdgeRelay:
    """An app whose lifespan has begun, a client of it, and what it works with."""

    app: Starlette
    client: httpx.AsyncClient
    services: Services

    def live(self) -> AbstractAsyncContextManager[str]:
        """The same relay on a real socket: gives its address."""
        return live_server(create_app(services=self.services))

    async def bearer(self, *scopes: str, owner: str = "alice") -> dict[str, str]:
        """Headers with a fresh token of these scopes."""
        token, _ = await create_token(self.services.db, "test", owner, scopes, None)
        return {"Authorization": f"Bearer {token}"}

    async def stored(self) -> int:
        """How many rows a request could have left behind."""
        async with self.services.db.read() as connection:
            return sum(
                [
                    (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                    for table in (conversations, generations, personas, turns)
                ]
            )

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """The answer to a JSON body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, json=body, headers=named)

    async def chat(self, text: str = "hello", **fields: str) -> dict[str, Any]:
        """A chat that was just accepted."""
        return await self._accepted("/v1/generations", {"kind": "chat", "input": text, **fields})

    async def persona(self, name: str = "Ada") -> dict[str, Any]:
        """The generation of a persona that was just accepted."""
        return await self._accepted("/v1/personas", {"name": name, "brief": "an engineer"})

    async def complete(
        self, generation_id: str, text: str = "", *, written: dict[str, str] | None = None
    ) -> Committed:
        """Runs a queued generation to its end as a worker would, without a log in Redis."""
        db = self.services.db
        await register_worker(db, WORKER, 1)
        claimed = await claim(db, generation_id, 0, WORKER, lease_seconds=10)
        assert claimed is not None
        change = None
        if written is not None:
            change = PersonaChange(written=written, deleted=(), skills=("writing",), derived={})
        outcome = Outcome(
            state=State.COMPLETED,
            text=text,
            timeline=pack([]),
            last_seq=1,
            last_offset=0,
            finish_reason="stop",
            change=change,
        )
        committed = await commit(
            db, generation_id, claimed.attempt, outcome, kinds=self.services.kinds
        )
        assert committed is not None
        return committed

    async def _accepted(self, path: str, body: object) -> dict[str, Any]:
        answer = await self.post(path, body)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted


@asynccontextmanager
async def open_edge(settings: RelaySettings) -> AsyncIterator[EdgeRelay]:
    """A relay with these settings, reached in this process."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            yield EdgeRelay(app, client, app.state.services)
