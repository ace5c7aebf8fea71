"""A whole system of real processes: Redis, a database, relays, workers and the scripted model.

Each relay and worker reaches Redis and PostgreSQL through a proxy of its own, so that any link can
be cut, delayed or frozen alone; the test's own eyes look at the database directly.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import text

from jobs.database import Database, migrate
from jobs.errors import Unavailable
from tests.chaos.member import Member
from tests.chaos.reader import Reader, one_connection_a_request
from tests.services import (
    DelayingProxy,
    Direction,
    PostgresServer,
    RedisServer,
    eventually,
    free_port,
)

HASTY_WORKER = Path(__file__).with_name("hasty_worker.py")
PROGRAM = Path(sys.executable).with_name("persona-relay")
POST_SECONDS = 15.0


class Refused(Exception):
    """The relay answered a request with a problem; carries status and document.

    `unsure`: it was asked before without an answer, and that request may yet be accepted.
    """

    def __init__(self, status: int, problem: Any) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem
        self.unsure = False


@dataclass(slots=True)
class System:
    """What a test holds of it."""

    redis: RedisServer
    db: Database
    lease: float
    model: Member
    model_link: DelayingProxy
    relays: list[Member]
    workers: list[Member]
    http: aiohttp.ClientSession
    streams: aiohttp.ClientSession
    rng: random.Random
    journals: Path
    """The directory of its workers' journals."""
    postgres: PostgresServer | None = None
    readers: list[Reader] = field(default_factory=list)

    @property
    def members(self) -> list[Member]:
        """Every process but the servers."""
        return [self.model, *self.relays, *self.workers]

    def relay_url(self) -> str:
        """Any relay that has not ended."""
        up = [one for one in self.relays if one.running]
        return self.rng.choice(up or self.relays).url

    async def heal(self) -> None:
        """Undo whatever was done to it: everything runs, nothing is cut, no generation is left."""
        await asyncio.gather(*(reader.leave() for reader in self.readers))
        self.readers.clear()
        self.redis.thaw()
        if not self.redis.running:
            self.redis.restart(keep_data=True)
        self.redis.command("CONFIG", "SET", "maxmemory", "0")
        if self.postgres is not None:
            self.postgres.thaw()
        for link in self.links:
            link.traps.clear()
            link.delay_ms = dict.fromkeys(Direction, 0.0)
            link.heal()
        dead = [one for one in self.members if not one.running]
        for one in dead:
            one.launch()
        for one in self.members:
            one.thaw()
        await asyncio.gather(*(one.ready() for one in dead))
        for (left,) in await self.rows(
            "SELECT id FROM generations WHERE state IN ('queued', 'running')"
        ):
            await self.cancel(left)
        await self.at_rest()

    def last_words(self) -> str:
        """The end of what each process printed, for a failure's report."""
        return "\n".join(one.last_words() for one in self.members)

    @property
    def links(self) -> list[DelayingProxy]:
        """Every proxy."""
        of_members = [
            link for one in self.members for link in (one.redis_link, one.database_link) if link
        ]
        return [self.model_link, *of_members]

    # To ask.

    async def ask(
        self, model: str = "demo-words-30-pace-30", said: str = "Hello", **body: Any
    ) -> str:
        """Store a chat generation at any relay and give its id; Refused."""
        document = await self.post("/v1/generations", _chat(model, said, body))
        return str(document["id"])

    async def ask_until_taken(
        self, key: str, model: str, said: str, *, patience: float = 60.0, **body: Any
    ) -> Any:
        """The same, as often as it takes, under one idempotency key; gives its resource."""
        deadline = asyncio.get_running_loop().time() + patience
        unsure = False
        while True:
            try:
                return await self.post("/v1/generations", _chat(model, said, body), key=key)
            except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                if isinstance(error, Refused):
                    error.unsure = unsure
                refused = isinstance(error, Refused) and error.status < 500
                if refused or asyncio.get_running_loop().time() > deadline:
                    raise
                unsure = True
                await asyncio.sleep(self.rng.uniform(0.1, 0.4))

    async def post(self, path: str, body: Any = None, *, key: str = "", relay: str = "") -> Any:
        """One POST to any relay; the JSON document of a 2xx, else Refused."""
        headers = {"Idempotency-Key": key} if key else {}
        timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
        url = (relay or self.relay_url()) + path
        async with self.http.post(url, json=body, headers=headers, timeout=timeout) as response:
            document = await response.json(content_type=None)
            if response.status >= 300:
                raise Refused(response.status, document)
            return document

    async def get(self, path: str, *, relay: str = "") -> Any:
        """One GET to any relay; the JSON document of a 200, else Refused."""
        timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
        async with self.http.get((relay or self.relay_url()) + path, timeout=timeout) as response:
            document = await response.json(content_type=None)
            if response.status != 200:
                raise Refused(response.status, document)
            return document

    async def cancel(self, generation_id: str) -> Any:
        """Ask for its cancellation at any relay; its resource."""
        return await self.post(f"/v1/generations/{generation_id}/cancel")

    def read(
        self,
        generation_id: str,
        *,
        cursor: str = "",
        name: str = "reader",
        relay: Member | None = None,
    ) -> Reader:
        """A reader that follows it from now on, at any relay or always the same."""
        where = self.relay_url if relay is None else lambda: relay.url
        reader = Reader(self.streams, where, generation_id, cursor=cursor, name=name)
        self.readers.append(reader)
        return reader.start()

    async def asked(self, model: str = "demo-words-30-pace-30", **body: Any) -> Reader:
        """A generation that was stored just now, and its reader."""
        return self.read(await self.ask(model, **body))

    # To see.

    async def resource(self, generation_id: str) -> Any:
        """Its resource now."""
        return await self.get(f"/v1/generations/{generation_id}")

    async def ended(self, generation_id: str, within: float = 15.0) -> Any:
        """Its resource once it has ended, by the database alone."""

        async def is_over() -> bool:
            [(state,)] = await self.rows(
                "SELECT state FROM generations WHERE id = :id", id=generation_id
            )
            return state not in ("queued", "running")

        await eventually(is_over, within=within, every=0.02)
        return await self.resource(generation_id)

    async def rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a reading statement, past every proxy; waits for a database that is away."""
        for _ in range(100):
            with contextlib.suppress(Unavailable):
                return [tuple(row) for row in await self.db.fetch(text(statement), parameters)]
            await asyncio.sleep(0.2)
        raise TimeoutError("the database did not come back")

    async def turns(self, generation_id: str) -> list[tuple[str, str, bool]]:
        """Role, text and partial of its turns."""
        rows = await self.rows(
            "SELECT role, text, partial FROM turns WHERE generation_id = :id ORDER BY position",
            id=generation_id,
        )
        return [(role, said, bool(partial)) for role, said, partial in rows]

    async def in_flight(self) -> dict[str, str]:
        """The generations that run now, each with the id of the worker that holds it."""
        rows = await self.rows("SELECT id, worker_id FROM generations WHERE state = 'running'")
        return {generation: worker or "" for generation, worker in rows}

    async def held_by(self, worker: Member) -> set[str]:
        """The generations that this worker runs, by the database."""
        ids = worker.worker_ids
        return {one for one, holder in (await self.in_flight()).items() if holder in ids}

    async def holder(self, generation_id: str) -> Member:
        """The worker that runs it."""
        [(worker_id,)] = await self.rows(
            "SELECT worker_id FROM generations WHERE id = :id", id=generation_id
        )
        return next(one for one in self.workers if worker_id in one.worker_ids)

    async def model_stats(self) -> dict[str, int]:
        """What the model has seen: answers open now, requests so far, clients that left."""
        async with self.http.get(f"{self.model.url}/stats") as response:
            stats: dict[str, int] = await response.json()
            return stats

    async def upstreams(self) -> int:
        """Answers that the model is giving now."""
        return (await self.model_stats())["open"]

    async def at_rest(self, within: float = 15.0) -> None:
        """Return once no generation runs or waits, and the model gives no answer."""

        async def is_at_rest() -> bool:
            [(left,)] = await self.rows(
                "SELECT count(*) FROM generations WHERE state IN ('queued', 'running')"
            )
            return left == 0 and await self.upstreams() == 0

        await eventually(is_at_rest, within=within, every=0.05)


def _chat(model: str, said: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "chat", "input": said, "model": model, **body}


@asynccontextmanager
async def open_system(
    redis: RedisServer,
    database_url: str,
    directory: Path,
    *,
    relays: int = 1,
    workers: int = 1,
    lease: float = 1.5,
    grace: float | None = None,
    seed: int = 0,
    **settings: str | float,
) -> AsyncIterator[System]:
    """Everything started, with `settings` as RELAY_* variables; every process gone afterwards.

    `grace` replaces the seconds that a stopping worker gives its generations."""
    await migrate(database_url)
    async with AsyncExitStack() as stack:
        port = free_port()
        model = Member(
            "model", [str(PROGRAM), "demo-model", "--port", str(port)], dict(os.environ), directory,
            port=port,
        )  # fmt: skip
        stack.callback(_end, model)
        model_link = await stack.enter_async_context(_proxy(model.port))
        environment = {
            **{name: value for name, value in os.environ.items() if not _is_setting(name)},
            "RELAY_AUTH": "off",
            "RELAY_LEASE_SECONDS": str(lease),
            "RELAY_HEARTBEAT_SECONDS": "1",
            "RELAY_IDLE_TIMEOUT_SECONDS": "20",
            "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0",
            "RELAY_TOTAL_GENERATIONS_PER_MINUTE": "0",
            "RELAY_OWNER_STREAMS": "0",
            "RELAY_MODEL": "demo",
            "RELAY_MODELS": "*",
            "OPENAI_API_KEY": "demo",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model_link.port}/v1",
            "RELAY_JOURNAL_DIR": str(directory / "journal"),
            **{f"RELAY_{name.upper()}": str(value) for name, value in settings.items()},
        }

        async def member(name: str, argv: Sequence[str], port: int, ready: str) -> Member:
            redis_link = await stack.enter_async_context(_proxy(redis.port))
            addresses = {
                "RELAY_REDIS_URL": redis_link.url(redis.url),
                "RELAY_DATABASE_URL": database_url,
            }
            database_link = None
            if database_url.startswith("postgresql"):
                database_link = await stack.enter_async_context(DelayingProxy.before(database_url))
                database_link.recording = False
                addresses["RELAY_DATABASE_URL"] = database_link.url(database_url)
            made = Member(
                name, argv, environment | addresses, directory, port=port, ready=ready,
                redis_link=redis_link, database_link=database_link,
            )  # fmt: skip
            stack.callback(_end, made)
            return made

        run_worker = [str(PROGRAM), "worker"]
        if grace is not None:
            run_worker = [sys.executable, "-P", str(HASTY_WORKER), str(grace)]
        system = System(
            redis=redis,
            db=await stack.enter_async_context(Database.open(database_url)),
            lease=lease,
            model=model,
            model_link=model_link,
            relays=[
                await member(
                    f"relay{number}", [str(PROGRAM), "serve", "--port", str(port)], port, ""
                )
                for number, port in enumerate([free_port() for _ in range(relays)], start=1)
            ],
            workers=[
                await member(f"worker{number}", run_worker, 0, "worker is ready")
                for number in range(1, workers + 1)
            ],
            http=await stack.enter_async_context(one_connection_a_request()),
            streams=await stack.enter_async_context(one_connection_a_request()),
            rng=random.Random(seed),
            journals=directory / "journal",
        )  # fmt: skip
        try:
            for one in system.members:
                one.launch()
            await asyncio.gather(*(one.ready() for one in system.members))
            yield system
        except BaseException as error:
            error.add_note(system.last_words())
            raise
        finally:
            await asyncio.gather(*(reader.leave() for reader in system.readers))
            for one in system.members:
                _end(one)
            # What the kernel closed must have reached the proxies before they are closed.
            await eventually(lambda: not sum(one.open_connections for one in system.links))


def _is_setting(name: str) -> bool:
    return name.startswith(("RELAY_", "OPENAI_"))


@asynccontextmanager
async def _proxy(port: int) -> AsyncIterator[DelayingProxy]:
    async with DelayingProxy("127.0.0.1", port) as proxy:
        # What passes is not looked at, and would only fill the memory.
        proxy.recording = False
        yield proxy


def _end(member: Member) -> None:
    if member.running:
        member.child.kill()
