"""Generations by chance, with readers that come, go and drop: each with what may become of it."""

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from relay.demo_model.tokens import WORDS
from relay.protocols.openai_responses.objects import response_id
from tests.chaos.records import Asked
from tests.chaos.sdk_reader import CUT, SdkReader
from tests.chaos.system import Refused, System
from tests.clients.openai_python import generation_of

SAID = "ChidÉ 🎉 says: naïve café — 日本語 👩\u200d🚀 e\u0301, and so on. "

# Script and code; each name is used with other numbers every time.
FAILING = (
    ("demo-pace-60-truncated-after-{n}", "model_truncated"),
    ("demo-pace-60-broken-after-{n}", "model_truncated"),
    ("demo-pace-60-badjson-after-{n}", "model_error"),
    ("demo-pace-60-errorevent-after-{n}", "model_error"),
    ("demo-pace-60-silent-after-{n}", "model_timeout"),
    ("demo-pace-60-comments-after-{n}", "model_timeout"),
    ("demo-empty-delay-{n}", "empty_answer"),
)

MOST_TRIES = 100


@dataclass(slots=True)
class Load:
    """Asks for generations, at most `at_once` in flight, until it is told to stop."""

    system: System
    rng: random.Random
    at_once: int
    clients: Sequence[Any] = ()
    """OpenAI's SDK at each relay; without it nobody asks for a response."""
    asked: list[Asked] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.at_once)

    async def run(self) -> None:
        """Asks until `stopping`; what was begun goes on."""
        while not self.stopping:
            await self._free.acquire()
            task = asyncio.create_task(self._one(self.rng.random()))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            await asyncio.sleep(self.rng.uniform(0.0, 2.0 / self.at_once))

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._free.release()

    async def over(self, within: float) -> None:
        """Returns once every reader has seen the end of its generation, or this time is up.

        Raises what a request was refused with.
        """
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within)
            self.counts["late"] += len(late)
            for task in late:
                task.cancel()
                await asyncio.wait({task})
            for task in self._tasks - late:
                task.result()

    async def abandon(self) -> None:
        """Breaks everything off."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, chance: float) -> None:
        asked = await self._ask(chance)
        self.asked.append(asked)
        rng = self.rng
        cursor_from = self.system.read(asked.id, name="first reader")
        asked.readers.append(cursor_from)
        others = [asyncio.create_task(self._drops(asked))] if rng.random() < 0.4 else []
        if not asked.restartable:
            others.append(asyncio.create_task(self._follows(asked)))
        if rng.random() < 0.4:
            others.append(asyncio.create_task(self._joins_late(asked)))
        if rng.random() < 0.1:
            others.append(asyncio.create_task(self._cancels(asked)))
        try:
            await cursor_from.finished(within=600)
            await asyncio.gather(*others)
        finally:
            for task in others:
                task.cancel()

    async def _ask(self, chance: float) -> Asked:
        rng = self.rng
        body: dict[str, Any] = {}
        text: str | None = None
        fails: frozenset[str] = frozenset()
        count: int | None = None
        said = f"Hello {uuid.UUID(int=rng.getrandbits(128))}"
        if chance < 0.12:
            script, code = rng.choice(FAILING)
            model, fails = script.format(n=rng.randint(1, 40)), frozenset({code})
        elif chance < 0.3:
            said = SAID[: rng.randint(10, len(SAID))].strip() + said
            model, text = f"demo-echo-pace-{rng.randint(15, 60)}-bytes-{rng.randint(5, 90)}", said
        elif chance < 0.37:
            model, body = (
                f"demo-pace-{rng.randint(400, 900)}",
                {"kind": "generate", "name": "Chidé"},
            )
            said = "A calm companion for bird watchers. " + said
        else:
            count = rng.randint(5, 90)
            model = f"demo-words-{count}-pace-{rng.randint(12, 60)}"
            text = " ".join(WORDS[at % len(WORDS)] for at in range(count))
        if self.clients and 0.37 <= chance < 0.5:
            return await self._create(model, said, text)
        at = time.monotonic()
        key = str(uuid.UUID(int=rng.getrandbits(128)))
        askers = 3 if rng.random() < 0.1 else 1
        ids = await asyncio.gather(
            *(self.system.ask_until_taken(key, model, said, **body) for _ in range(askers))
        )
        self.counts["requests"] += askers
        if len(set(ids)) != 1:
            raise AssertionError(f"one key, and {len(set(ids))} generations: {ids}")
        makes_persona = "kind" in body
        return Asked(ids[0], model, at, text, fails, tokens=count, makes_persona=makes_persona)

    async def _create(self, model: str, said: str, text: str | None) -> Asked:
        """Asks for a response, as often as it takes, under one key."""
        at, key = time.monotonic(), str(uuid.UUID(int=self.rng.getrandbits(128)))
        headers = {"Idempotency-Key": key}
        for _ in range(MOST_TRIES):
            client = self.rng.choice(self.clients)
            with contextlib.suppress(*CUT):
                created = await client.responses.create(
                    model=model, input=said, background=True, extra_headers=headers
                )
                self.counts["responses"] += 1
                return Asked(generation_of(created.id), model, at, text, restartable=False)
            await asyncio.sleep(self.rng.uniform(0.1, 0.4))
        raise TimeoutError(f"no response was accepted in {MOST_TRIES} tries")

    async def _follows(self, asked: Asked) -> None:
        """One that reads it through the SDK."""
        first = self.rng.randrange(len(self.clients))
        reader = SdkReader(self.clients, response_id(asked.id), self.rng, first)
        asked.sdk_readers.append(reader)
        await reader.follow()

    async def _drops(self, asked: Asked) -> None:
        """A reader whose network is bad."""
        reader = self.system.read(asked.id, name="dropping reader")
        asked.readers.append(reader)
        while not reader.over:
            await asyncio.sleep(self.rng.uniform(0.05, 1.0))
            self.counts["drops"] += reader.drop()
        await reader.finished(within=1)

    async def _joins_late(self, asked: Asked) -> None:
        """One that comes when part of it is past."""
        await asyncio.sleep(self.rng.uniform(0.2, 3.0))
        reader = self.system.read(asked.id, name="late reader")
        asked.readers.append(reader)
        await reader.finished(within=600)

    async def _cancels(self, asked: Asked) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 2.0))
        asked.cancelled = True
        for _ in range(MOST_TRIES):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, Refused):
                await self.system.cancel(asked.id)
                self.counts["cancels"] += 1
                return
            await asyncio.sleep(0.2)
