"""A reader through OpenAI's SDK: it asks again after what it has seen whenever it is cut off."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai

from tests.clients.openai_python import async_client_of
from tests.services import eventually

WITHIN = 25.0
SILENCE_SECONDS = 30.0
"""As for other readers: a relay that sends no ping either is as good as gone."""
LAST = ("response.completed", "response.failed", "response.incomplete")
CUT = (openai.APIConnectionError, openai.InternalServerError)
"""What a lost connection is, before or in an answer, and a relay that can't answer now."""


@dataclass(slots=True)
class SdkReader:
    """Follows a response at any relay to its last event; `start` does so in a task."""

    clients: Sequence[Any]
    response_id: str
    rng: random.Random
    at: int = 0
    """The relay that it asks next."""
    events: list[Any] = field(default_factory=list)
    cuts: int = 0
    early_ends: int = 0
    """Streams that ended properly without the last event: what an application takes for success."""
    task: asyncio.Task[None] | None = None

    @property
    def text(self) -> str:
        """All deltas so far."""
        return text_of(self.events)

    @property
    def over(self) -> bool:
        """Whether it has the last event."""
        return bool(self.events) and self.events[-1].type in LAST

    @property
    def final(self) -> Any:
        """The response of the last event."""
        return self.events[-1].response

    def start(self) -> "SdkReader":
        """Follows in a task."""
        self.task = asyncio.create_task(self.follow(), name=f"sdk {self.response_id}")
        return self

    async def follow(self) -> None:
        """Reads until the last event."""
        while not self.over:
            after = {"starting_after": self.events[-1].sequence_number} if self.events else {}
            client = self.clients[self.at % len(self.clients)]
            try:
                stream = await client.responses.retrieve(self.response_id, stream=True, **after)
                async for event in stream:
                    self.events.append(event)
            except CUT:
                self.cuts += 1
                self.at += 1
                await asyncio.sleep(self.rng.uniform(0.05, 0.3))
            else:
                self.early_ends += not self.over

    async def finished(self, within: float = WITHIN) -> None:
        """Returns once it has the last event."""
        assert self.task is not None
        await asyncio.wait_for(self.task, within)
        assert self.early_ends == 0

    async def wrote(self, characters: int = 20) -> None:
        """Returns once it has been told so much text."""
        await eventually(lambda: len(self.text) >= characters, within=WITHIN)

    def tale(self, events: int = 12) -> str:
        """What became of it, for a failure's report."""
        shown = [f"  {one.sequence_number} {str(one)[:120]}" for one in self.events[-events:]]
        head = (
            f"SDK reader of {self.response_id}: {len(self.events)} events, {self.cuts} cuts,"
            f" {self.early_ends} early ends"
        )
        return "\n".join([head, *shown])

    def leave(self) -> None:
        """Goes away for good."""
        assert self.task is not None
        self.task.cancel()


def text_of(events: Sequence[Any]) -> str:
    """All deltas of these events."""
    return "".join(one.delta for one in events if one.type == "response.output_text.delta")


async def replay_of(client: Any, response_id: str) -> list[Any]:
    """The events that somebody is told who comes when all is over."""
    stream = await client.responses.retrieve(response_id, stream=True)
    return [event async for event in stream]


@asynccontextmanager
async def clients_of(urls: Sequence[str]) -> AsyncIterator[list[Any]]:
    """A client of each of these relays."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(async_client_of(url)) for url in urls]
        yield [client.with_options(timeout=SILENCE_SECONDS) for client in opened]
