"""Generations by chance, with readers that come, go and drop: each with what may become of it."""

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from relay.protocols.openai_responses.objects import response_id
from tests.chaos.lines import Line, Refusal
from tests.chaos.reader import Reader
from tests.chaos.records import Asked, Cancel, OnActive
from tests.chaos.sdk_reader import CUT, SdkReader
from tests.chaos.system import Refused, System
from tests.chaos.waves import words
from tests.chaos.wishes import Wish, anything, some_words, words_and_silence
from tests.clients.openai_python import generation_of

MOST_TRIES = 100
CANCEL_EVERY = 5
"""One in so many generations is cancelled in a phase that is waited for, each in turn."""
PHASES = ("in mid-silence", "in mid-answer", "near the end", "in the line")
GOES_ON = 0.3
"""How many of the conversations go on before their first answer is over."""
ON_ACTIVE: tuple[OnActive, ...] = ("reject", "queue", "interrupt")


@dataclass(slots=True)
class Load:
    """Asks for generations, at most `at_once` in flight, until it is told to stop."""

    system: System
    rng: random.Random
    at_once: int
    clients: Sequence[Any] = ()
    """OpenAI's SDK at each relay; without it nobody asks for a response."""
    asked: list[Asked] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    """The conversations that went on."""
    counts: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    _begun: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.at_once)

    async def run(self) -> None:
        """Asks until `stopping`; what was begun goes on."""
        while not self.stopping:
            await self._free.acquire()
            self._begun += 1
            phase = None
            if self._begun % CANCEL_EVERY == 0:
                phase = PHASES[self._begun // CANCEL_EVERY % len(PHASES)]
            task = asyncio.create_task(self._one(self.rng.random(), phase))
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

    async def _one(self, chance: float, phase: str | None) -> None:
        if phase == "in the line":
            await self._goes_on(await self._post(some_words(self.rng, 90)), all_modes=True)
        elif phase is not None:
            wish, shown = self._to_cancel(phase)
            await self._lives(await self._post(wish), after=(phase, shown))
        else:
            asked = await self._ask(chance)
            if asked.restartable and not asked.makes_persona and self.rng.random() < GOES_ON:
                await self._goes_on(asked)
            else:
                await self._lives(asked, self.rng.random() < 0.1)

    async def _goes_on(self, first: Asked, *, all_modes: bool = False) -> None:
        """More is said in its conversation, whether or not it is over.

        `all_modes`: at once in each, and one of those that wait is cancelled.
        """
        line = Line(first.conversation_id, [first])
        self.lines.append(line)
        rng = self.rng
        async with asyncio.TaskGroup() as lives:
            lives.create_task(self._lives(first))
            if all_modes:
                for mode in ("queue", "queue", "reject"):
                    await self._says_more(line, lives, mode)
                await self._cancels(line.asked[1], "in the line")
                await self._says_more(line, lives, "interrupt")
                return
            for _ in range(rng.randint(1, 3)):
                await asyncio.sleep(rng.uniform(0.0, 0.8))
                mode = rng.choice(ON_ACTIVE)
                at_once = 2 if mode != "interrupt" and rng.random() < 0.3 else 1
                await asyncio.gather(*(self._says_more(line, lives, mode) for _ in range(at_once)))

    async def _says_more(self, line: Line, lives: asyncio.TaskGroup, mode: OnActive) -> None:
        wish = some_words(self.rng, self.rng.randint(5, 50))
        body = {"conversation_id": line.conversation_id, "on_active": mode}
        if mode == "interrupt":
            for one in line.asked:
                one.cancelled = True
        at = time.monotonic()
        try:
            asked = await self._post(replace(wish, body=body))
        except Refused as refused:
            line.refusals.append(
                Refusal(at, time.monotonic(), refused.status, refused.problem, refused.unsure)
            )
            self.counts["refused"] += 1
            return
        asked.on_active = mode
        line.asked.append(asked)
        self.counts[f"accepted to {mode}"] += 1
        lives.create_task(self._lives(asked))

    async def _lives(
        self, asked: Asked, cancelled: bool = False, after: tuple[str, int] | None = None
    ) -> None:
        """Its readers, and who cancels it: some time, or `after` so many characters are shown."""
        self.asked.append(asked)
        rng = self.rng
        first = self.system.read(asked.id, name="first reader")
        asked.readers.append(first)
        others = [asyncio.create_task(self._drops(asked))] if rng.random() < 0.4 else []
        if not asked.restartable:
            others.append(asyncio.create_task(self._follows(asked)))
        if rng.random() < 0.4:
            others.append(asyncio.create_task(self._joins_late(asked)))
        if after is not None:
            others.append(asyncio.create_task(self._cancels_in(asked, first, *after)))
        elif cancelled:
            others.append(asyncio.create_task(self._cancels_some_time(asked)))
        try:
            await first.finished(within=600)
            await asyncio.gather(*others)
        finally:
            for task in others:
                task.cancel()

    def _to_cancel(self, phase: str) -> tuple[Wish, int]:
        """What to ask for so that there is this phase, and how many characters are shown then."""
        rng = self.rng
        if phase == "in mid-silence":
            count = rng.randint(1, 30)
            return words_and_silence(rng, count), len(words(count))
        if phase == "near the end":
            count = rng.randint(20, 50)
            return some_words(rng, count), len(words(count - rng.randint(1, 3)))
        # So many left that whoever ignores the cancellation is late.
        count = rng.randint(90, 150)
        return some_words(rng, count, rng.randint(15, 25)), len(words(count // 3))

    async def _ask(self, chance: float) -> Asked:
        wish = anything(self.rng, chance)
        if self.clients and 0.37 <= chance < 0.5:
            return await self._create(wish.model, wish.said, wish.text)
        return await self._post(wish)

    async def _post(self, wish: Wish) -> Asked:
        rng, at = self.rng, time.monotonic()
        key = str(uuid.UUID(int=rng.getrandbits(128)))
        # Of several that may be refused, one that is left alone could still be accepted.
        askers = 3 if "on_active" not in wish.body and rng.random() < 0.1 else 1
        answers = await asyncio.gather(
            *(
                self.system.ask_until_taken(key, wish.model, wish.said, **wish.body)
                for _ in range(askers)
            )
        )
        self.counts["requests"] += askers
        ids = [one["id"] for one in answers]
        if len(set(ids)) != 1:
            raise AssertionError(f"one key, and {len(set(ids))} generations: {ids}")
        return Asked(
            ids[0], wish.model, at, wish.text, wish.fails,
            tokens=wish.tokens, makes_persona="kind" in wish.body,
            conversation_id=answers[0]["conversation_id"],
        )  # fmt: skip

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

    async def _cancels_some_time(self, asked: Asked) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 2.0))
        await self._cancels(asked, "some time")

    async def _cancels_in(self, asked: Asked, reader: Reader, phase: str, shown: int) -> None:
        """Waits until this reader shows so many characters, if it ever does."""
        await reader.until(lambda one: one.over or len(one.text) >= shown, within=600)
        if reader.over:
            self.counts[f"over before {phase}"] += 1
        else:
            await self._cancels(asked, phase)

    async def _cancels(self, asked: Asked, phase: str) -> None:
        asked.cancelled = True
        again = self.rng.random() < 0.3
        for _ in range(MOST_TRIES):
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, Refused):
                document = await self.system.cancel(asked.id)
                asked.cancels.append(Cancel(time.monotonic(), document["state"]))
                if not again:
                    self.counts[f"cancelled {phase}"] += 1
                    return
                again = False
            await asyncio.sleep(0.2)
