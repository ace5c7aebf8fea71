"""What a protocol's routes open: a stream in its words, or the wait for a generation's end."""

import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace

from starlette.responses import Response

from jobs.store.intake import Accepted
from jobs.store.reads import StreamRow
from relay.event_stream import EventStream
from relay.follow import Follower
from relay.protocols.projection import Projection, Retold
from relay.services import Services
from relay.streaming import join, start_joined


async def stream_projected(
    services: Services,
    generation_id: str,
    projection: Projection,
    row: StreamRow | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The whole generation in these words, past and live; `row` is where it stood, if known."""
    follower = _follower(services, generation_id, row)
    if not follower.has_ended:
        await join(follower)
    return _stream(services, follower, projection, headers)


async def stream_accepted_projected(
    services: Services,
    accepted: Accepted,
    projection: Projection,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The same of a generation that was just stored: subscribe, then enqueue, then follow."""
    follower = _follower(services, accepted.generation.id)
    await start_joined(services, follower, accepted)
    return _stream(services, follower, projection, headers)


async def wait_for_end(services: Services, generation_id: str) -> None:
    """Returns once the generation has ended, and that is committed; raises Unavailable."""
    follower = _follower(services, generation_id)
    await join(follower)
    try:
        async with aclosing(follower.events()) as events:
            async for _ in events:
                pass
    finally:
        follower.close()


def _follower(services: Services, generation_id: str, row: StreamRow | None = None) -> Follower:
    # These clients know no `idle`: a stream that ended without its end would pass for the whole.
    sources = replace(services.sources, idle_timeout_seconds=math.inf)
    return Follower(sources, generation_id, known=row, merged=False)


def _stream(
    services: Services,
    follower: Follower,
    projection: Projection,
    headers: Mapping[str, str] | None,
) -> Response:
    retold = Retold(follower, projection)
    return EventStream(retold, services.sources.pulse, headers, reconnects=False)
