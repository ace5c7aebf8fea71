"""OpenAI's SDK while things break: the committed text, or a failure that says so, never less."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.chaos.system import System
from tests.chaos.waves import words
from tests.clients.openai_python import async_client_of, generation_of
from tests.services import eventually

WITHIN = 25.0
LAST = ("response.completed", "response.failed", "response.incomplete")
PACED, TEXT = "demo-words-70-pace-30", words(70)


@dataclass(slots=True)
class Sdk:
    """Follows a response at any relay, and asks again after what it has seen whenever it is cut."""

    system: System
    clients: Sequence[Any]
    response_id: str
    at: int
    """The relay that it asks next."""
    events: list[Any] = field(default_factory=list)
    cuts: int = 0
    early_ends: int = 0
    """Streams that ended properly without the last event: what an application takes for success."""
    task: asyncio.Task[None] | None = None

    @property
    def text(self) -> str:
        """All deltas so far."""
        return "".join(one.delta for one in self.events if one.type == "response.output_text.delta")

    @property
    def final(self) -> Any:
        """The response of the last event."""
        return self.events[-1].response

    async def follow(self) -> None:
        """Reads until the last event."""
        while not self.events or self.events[-1].type not in LAST:
            after = {"starting_after": self.events[-1].sequence_number} if self.events else {}
            client = self.clients[self.at % len(self.clients)]
            try:
                stream = await client.responses.retrieve(self.response_id, stream=True, **after)
                async for event in stream:
                    self.events.append(event)
            except (openai.APIConnectionError, openai.InternalServerError):
                self.cuts += 1
                self.at += 1
                await asyncio.sleep(self.system.rng.uniform(0.05, 0.3))
            else:
                self.early_ends += self.events[-1].type not in LAST

    async def finished(self) -> None:
        """Returns once it has the last event."""
        assert self.task is not None
        await asyncio.wait_for(self.task, WITHIN)
        assert self.early_ends == 0

    async def wrote(self, characters: int = 20) -> None:
        """Returns once it has been told so much text."""
        await eventually(lambda: len(self.text) >= characters, within=WITHIN)


@asynccontextmanager
async def answered(system: System, count: int, readers: int = 2) -> AsyncIterator[list[Sdk]]:
    """So many responses being written, each with readers that have seen some of it."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(async_client_of(one.url)) for one in system.relays
        ]
        created = [
            await clients[0].responses.create(model=PACED, input=f"{number}", background=True)
            for number in range(count)
        ]
        following = [Sdk(system, clients, one.id, at) for one in created for at in range(readers)]
        for one in following:
            one.task = asyncio.create_task(one.follow())
        try:
            await asyncio.gather(*(one.wrote() for one in following))
            yield following
        finally:
            for one in following:
                assert one.task is not None
                one.task.cancel()


async def assert_told_alike(system: System, following: Sequence[Sdk]) -> None:
    """Each has every event once, as a reader has them that comes afterwards."""
    for one in following:
        assert [event.sequence_number for event in one.events] == list(range(len(one.events)))
        stream = await one.clients[-1].responses.retrieve(one.response_id, stream=True)
        assert [event async for event in stream] == one.events
        assert one.final == await one.clients[0].responses.retrieve(one.response_id)
        assert one.text == one.final.output_text
        [_, turn] = await system.turns(generation_of(one.response_id))
        assert turn[1] == one.text


async def test_a_killed_worker_is_a_failure_with_the_text_that_was_shown(system: System) -> None:
    async with answered(system, 6) as following:
        held = {one.name: await system.held_by(one) for one in system.workers}
        worker = max(system.workers, key=lambda one: len(held[one.name]))
        lost = held[worker.name]
        assert lost
        worker.kill()
        await asyncio.gather(*(one.finished() for one in following))
        await assert_told_alike(system, following)
        for one in following:
            if generation_of(one.response_id) in lost:
                assert one.final.status == "failed"
                assert one.final.error.message.startswith("worker_lost: ")
                assert TEXT.startswith(one.text)
                assert len(one.text) < len(TEXT)
            else:
                assert (one.final.status, one.text) == ("completed", TEXT)


async def test_a_worker_lost_with_all_of_redis_is_a_failure_too(system: System) -> None:
    async with answered(system, 4) as following:
        seen = [len(one.text) for one in following]
        for worker in system.workers:
            worker.kill()
        system.redis.command("FLUSHALL")
        await asyncio.gather(*(one.finished() for one in following))
        for one, characters in zip(following, seen, strict=True):
            numbers = [event.sequence_number for event in one.events]
            assert numbers == sorted(set(numbers))
            assert len(one.text) >= characters
            assert one.events[-1].type == "response.failed"
            assert one.final.error.message.startswith("worker_lost: ")


async def test_a_killed_relay_costs_no_event(system: System) -> None:
    async with answered(system, 4) as following:
        system.relays[0].kill()
        await asyncio.gather(*(one.finished() for one in following))
        await system.relays[0].start()
        assert sum(one.cuts for one in following) >= len(following) / 2
        await assert_told_alike(system, following)
        assert {(one.final.status, one.text) for one in following} == {("completed", TEXT)}


async def test_a_redis_that_forgets_everything_costs_no_event_either(system: System) -> None:
    async with answered(system, 4) as following:
        system.redis.command("FLUSHALL")
        await asyncio.gather(*(one.finished() for one in following))
        await assert_told_alike(system, following)
        assert {(one.final.status, one.text) for one in following} == {("completed", TEXT)}
