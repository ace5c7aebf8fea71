"""Runs of the provider against a raw model, gathered for tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from jobs.provider import Finished, ModelEvent, ModelRequest, Provider, ProviderFailed, TextPiece
from jobs.settings import Settings
from tests.jobs.raw_model import RawModel, Script, raw_model

ASK = ModelRequest("m", [{"role": "user", "content": "Hi"}])
KEY = "sk-very-secret-key"


@dataclass(frozen=True)
class Run:
    """How a round went, as its reader saw it."""

    events: list[ModelEvent]
    failure: ProviderFailed | None
    model: RawModel
    seconds: float

    @property
    def text(self) -> str:
        """The text that was given."""
        return text_of(self.events)

    @property
    def code(self) -> str | None:
        """The failure's code."""
        return self.failure.code if self.failure else None

    @property
    def finished(self) -> Finished | None:
        """The last event, where it is the end of a whole round."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Finished) else None


def text_of(events: Iterable[ModelEvent]) -> str:
    """All text pieces together."""
    return "".join(event.text for event in events if isinstance(event, TextPiece))


def settings_for(url: str, first: float = 5.0, token: float = 5.0) -> Settings:
    """Settings with this endpoint and these timeouts in seconds."""
    return Settings(
        openai_base_url=url,
        openai_api_key=KEY,
        relay_first_token_timeout_seconds=first,
        relay_token_timeout_seconds=token,
    )


@asynccontextmanager
async def streamed(
    provider: Provider, request: ModelRequest, *, first_deadline: float
) -> AsyncIterator[AsyncIterator[Sequence[ModelEvent]]]:
    """A round as its batches; leaving the block cancels it."""
    given: asyncio.Queue[Sequence[ModelEvent] | None] = asyncio.Queue()
    reading = asyncio.create_task(
        provider.round(request, given.put_nowait, first_deadline=first_deadline)
    )
    reading.add_done_callback(lambda _: given.put_nowait(None))

    async def batches() -> AsyncIterator[Sequence[ModelEvent]]:
        while (batch := await given.get()) is not None:
            yield batch
        await reading

    try:
        yield batches()
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def ask(provider: Provider, request: ModelRequest = ASK) -> list[ModelEvent]:
    """The events of one whole round."""
    events: list[ModelEvent] = []
    async with streamed(provider, request, first_deadline=time.monotonic() + 5) as batches:
        async for batch in batches:
            assert batch
            events += batch
    return events


async def run(
    *scripts: Script,
    first: float = 5.0,
    token: float = 5.0,
    given: asyncio.Event | None = None,
) -> Run:
    """One round against these scripts; `given` is set as soon as an event was."""
    events: list[ModelEvent] = []
    failure = None
    async with opened(*scripts, first=first, token=token) as (model, provider):
        start = asyncio.get_running_loop().time()
        try:
            deadline = time.monotonic() + first
            async with streamed(provider, ASK, first_deadline=deadline) as batches:
                async for batch in batches:
                    events += batch
                    if given is not None:
                        given.set()
        except ProviderFailed as error:
            failure = error
        return Run(events, failure, model, asyncio.get_running_loop().time() - start)


@asynccontextmanager
async def opened(
    *scripts: Script, first: float = 5.0, token: float = 5.0
) -> AsyncIterator[tuple[RawModel, Provider]]:
    """A raw model that plays these scripts, and a provider of it."""
    async with (
        raw_model(*scripts) as model,
        Provider.open(settings_for(model.url, first, token)) as provider,
    ):
        yield model, provider
