"""A place of work for tests of the running side: real Redis, real database, the scripted model.

Everything is real but the model, which is the scripted demo model behind a live server.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from redis.asyncio import Redis
from sqlalchemy import text

from jobs.cancelling import end_tasks
from jobs.cursor import Cursor
from jobs.database import Database, migrate
from jobs.events import frame_cursor
from jobs.generation import Generation, Kind, OnActive
from jobs.ids import new_id
from jobs.queue import Queue
from jobs.redis_link import open_redis
from jobs.redis_pipeline import open_pipeline
from jobs.redis_wire import Address
from jobs.rescue import Rescuer
from jobs.settings import Settings
from jobs.signals import Signals
from jobs.store.commits import CancelOutcome, request_cancel
from jobs.store.intake import Budget, NewGeneration, accept
from jobs.store.reads import read_conversation, read_generation, read_replay_source
from jobs.stream_log import StreamLog
from jobs.timeline import rebuild, unpack
from jobs.worker import run_worker
from relay.demo_model import create_demo_model
from tests.services import eventually, live_server

OWNER = "ann"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a log: its name, its id and its data."""

    name: str
    cursor: Cursor
    data: dict[str, Any]


@dataclass(slots=True)
class Hired:
    """A worker that runs as a task; `dismiss` stops it in order."""

    stop: asyncio.Event
    task: asyncio.Task[None]

    async def dismiss(self, within: float = 20.0) -> None:
        """Asks it to stop, and waits until it has."""
        self.stop.set()
        async with asyncio.timeout(within):
            await self.task


@dataclass(slots=True)
class Work:
    """What a test holds: the services, ways to ask for generations, and to see what became."""

    settings: Settings
    db: Database
    redis: Redis
    queue: Queue
    signals: Signals
    stream_log: StreamLog
    model: httpx.AsyncClient
    _stack: AsyncExitStack = field(repr=False)

    async def hire(self, *, grace: float = 0.3, **changed: Any) -> Hired:
        """A worker in a task of this process, its journal beside the others'."""
        settings = msgspec.structs.replace(self.settings, **changed)
        stop = asyncio.Event()
        task = asyncio.create_task(run_worker(settings, stop, grace=grace))
        hired = Hired(stop, task)
        self._stack.push_async_callback(_let_go, hired)
        return hired

    async def store(
        self,
        said: str,
        kind: Kind = Kind.CHAT,
        *,
        model: str = "demo-fast",
        conversation_id: str | None = None,
        persona_id: str | None = None,
        on_active: OnActive = "reject",
        restartable: bool = True,
        expires_seconds: float = 600.0,
    ) -> Generation:
        """Stores a generation and enqueues nothing."""
        accepted = await accept(
            self.db,
            NewGeneration(
                owner=OWNER, kind=kind, input=said, model=model, persona_id=persona_id,
                conversation_id=conversation_id, on_active=on_active, restartable=restartable,
            ),
            generation_id=new_id("gen"),
            budget=Budget(),
            expires_seconds=expires_seconds,
        )  # fmt: skip
        return accepted.generation

    async def ask(self, said: str, kind: Kind = Kind.CHAT, **details: Any) -> Generation:
        """Stores a generation and enqueues it, as a relay does."""
        generation = await self.store(said, kind, **details)
        await self.queue.enqueue(generation.id, 0)
        return generation

    async def dictate(self, *rounds: Any, kind: Kind = Kind.GENERATE, **details: Any) -> Generation:
        """Asks for exactly these rounds of the model: text, or text and calls (name, arguments)."""
        played = [
            {"text": one[0], "calls": [{"name": n, "arguments": a} for n, a in one[1:]]}
            if isinstance(one, tuple)
            else {"text": one}
            for one in rounds
        ]
        details.setdefault("model", "demo-fast-dictated")
        return await self.ask(json.dumps({"rounds": played}), kind, **details)

    async def read(self, generation: Generation) -> Generation:
        """It as it is now."""
        return await read_generation(self.db, OWNER, generation.id)

    async def ended(self, generation: Generation, within: float = 10.0) -> Generation:
        """It once it has ended."""

        async def is_over() -> bool:
            return (await self.read(generation)).state.terminal

        await eventually(is_over, within=within)
        return await self.read(generation)

    async def told(self, generation: Generation, within: float = 5.0) -> list[Event]:
        """The events of the log in Redis, once its terminal event is there."""

        async def is_there() -> bool:
            events = await self.log(generation)
            return bool(events) and "generation" in events[-1].data

        await eventually(is_there, within=within)
        return await self.log(generation)

    async def log(self, generation: Generation) -> list[Event]:
        """The events of the newest attempt that the log in Redis has now."""
        attempt, _ = await self.stream_log.tail(generation.id)
        page = await self.stream_log.read(generation.id, attempt, 1)
        return [] if page is None else [event_of(one) for one in page.frames]

    async def text_so_far(self, generation: Generation) -> str:
        """The token text in the log."""
        return text_of(await self.log(generation))

    async def wrote(self, generation: Generation, characters: int = 1) -> None:
        """Returns once the log has so much text."""

        async def has_text() -> bool:
            return len(await self.text_so_far(generation)) >= characters

        await eventually(has_text)

    async def rebuilt(self, generation: Generation) -> list[Event]:
        """The events that SQL alone gives, without the terminal one and lost previews."""
        source = await read_replay_source(self.db, generation.id)
        assert source.timeline is not None
        entries = unpack(source.timeline)
        frames = rebuild(source.generation.attempt, source.text, entries)
        return [event_of(one) for _, one in frames if one]

    async def cancel(self, generation: Generation, *, hint: bool = True) -> CancelOutcome:
        """Asks for its cancellation; without `hint` no worker is told of it."""
        outcome = await request_cancel(self.db, OWNER, generation.id)
        if hint:
            await self.signals.cancel(generation.id)
        return outcome

    async def turns(self, generation: Generation) -> list[tuple[str, str, bool]]:
        """Role, text and partial of each turn of its conversation."""
        found = await read_conversation(self.db, OWNER, generation.conversation_id)
        return [(turn.role, turn.text, turn.partial) for turn in found.turns]

    async def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of any statement, by a hand in the database."""

        async def run(connection: Any) -> list[tuple[Any, ...]]:
            result = await connection.execute(text(statement), parameters)
            return [tuple(row) for row in result.all()] if result.returns_rows else []

        return await self.db.write(run)

    async def requests(self) -> list[dict[str, Any]]:
        """The bodies that the model was sent, oldest first."""
        seen = (await self.model.get("/requests")).json()["data"]
        return [one["body"] for one in seen]

    async def upstreams(self) -> int:
        """How many answers the model is giving now."""
        return int((await self.model.get("/stats")).json()["open"])

    def rescuer(self, **changed: Any) -> Rescuer:
        """A rescuer such as a relay runs, which a test leads by hand."""
        settings = msgspec.structs.replace(self.settings, **changed)
        return Rescuer(settings, self.db, self.stream_log, self.signals, self.queue)

    @asynccontextmanager
    async def relay_alone(self, **changed: Any) -> AsyncIterator[Rescuer]:
        """What a relay does for generations while no worker is there."""
        rescuer = self.rescuer(**changed)
        task = asyncio.create_task(rescuer.run())
        try:
            yield rescuer
        finally:
            await end_tasks({task})


async def _let_go(hired: Hired) -> None:
    # The worker's own outcome belongs to the test that asks for it; here it must only be gone.
    hired.stop.set()
    _, late = await asyncio.wait({hired.task}, timeout=30)
    await end_tasks(late)
    if not hired.task.cancelled() and (error := hired.task.exception()) is not None:
        logging.getLogger(__name__).error("a worker had failed", exc_info=error)


@asynccontextmanager
async def at_work(
    redis_url: str, database_url: str, directory: Path, *, direct_database: str = "", **changed: Any
) -> AsyncIterator[Work]:
    """Work until the block ends; `changed` are settings by field name.

    `direct_database` is the address for the test's own eyes where workers are given a proxy.
    """
    direct = direct_database or database_url
    await migrate(direct)
    async with AsyncExitStack() as stack:
        model_url = await stack.enter_async_context(live_server(create_demo_model()))
        settings = Settings(
            relay_database_url=database_url,
            relay_redis_url=redis_url,
            openai_base_url=f"{model_url}/v1",
            openai_api_key="demo",
            relay_model="demo-fast",
            relay_models="*",
            relay_journal_dir=str(directory / "journal"),
        )
        redis = await stack.enter_async_context(open_redis(redis_url))
        calls = await stack.enter_async_context(open_pipeline(Address.of_url(redis_url)))
        work = Work(
            settings=msgspec.structs.replace(settings, **changed),
            db=await stack.enter_async_context(Database.open(direct)),
            redis=redis,
            queue=Queue(calls),
            signals=Signals(calls),
            stream_log=StreamLog(redis),
            model=await stack.enter_async_context(httpx.AsyncClient(base_url=model_url)),
            _stack=stack,
        )
        yield work


def event_of(one: bytes) -> Event:
    """The event that this frame writes."""
    name, data, _ = one.decode().removesuffix("\n\n").split("\n")
    return Event(
        name.removeprefix("event: "), frame_cursor(one), json.loads(data.removeprefix("data: "))
    )


def text_of(events: list[Event]) -> str:
    """Their token text together."""
    return "".join(event.data["text"] for event in events if event.name == "token")


def names_of(events: list[Event]) -> list[str]:
    """Their names in order, runs of the same name as one."""
    names: list[str] = []
    for event in events:
        if not names or names[-1] != event.name:
            names.append(event.name)
    return names
