"""Starts a generation from Python, without HTTP, and another one that follows from it.

export RELAY_MODEL=…  # and the rest as for `persona-relay serve`; a worker runs elsewhere
python enqueue.py "Name three rivers"
"""

import asyncio
import sys

from jobs.generation import Generation
from jobs.store.reads import read_generation
from relay.enqueue import enqueue
from relay.services import Services, open_services
from relay.settings import read_relay_settings


async def main(question: str) -> None:
    """Within an app that mounts the relay, `relay.state.services` is open already."""
    async with open_services(read_relay_settings()) as services:
        first = await enqueue(services, owner="ann", input=question)
        text = await answer(services, first)
        # Within the limits of its owner like any other, and no deeper than this.
        second = await enqueue(services, owner="ann", input=f"Shorten: {text}", caused_by=first.id)
        print(await answer(services, second))  # noqa: T201


async def answer(services: Services, generation: Generation) -> str:
    """Its text once it has ended; readers may follow it meanwhile."""
    while not generation.state.terminal:
        await asyncio.sleep(0.2)
        generation = await read_generation(services.db, "ann", generation.id)
    return str(generation.output.text) if generation.output else ""


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
