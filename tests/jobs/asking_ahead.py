"""Claims that stand before their commit, and what their model does meanwhile."""

import asyncio

from jobs.generation import Generation
from tests.jobs.at_work import Work
from tests.services import eventually
from tests.services.held_commit import (
    HeldCommits,
)


async def asked_ahead(work: Work, held: HeldCommits, model: str = "demo-fast-echo") -> Generation:
    """A generation whose claim stands before its commit, and whose model is asked already."""
    asked = await work.ask("Hello", model=model)
    assert await asyncio.to_thread(held.reached.wait, 5)

    async def is_asked() -> bool:
        return len(await work.requests()) == 1

    await eventually(is_asked)
    return asked


async def eventually_answering(work: Work, answers: int) -> None:
    """Returns once the model is giving so many answers."""

    async def is_so() -> bool:
        return await work.upstreams() == answers

    await eventually(is_so)
