"""What starts, follows or stops a generation for its readers, each step in its order (protocol §5).

Subscribe, then enqueue, then follow; what is a hint may fail, and is found in the rows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.responses import Response

from jobs.errors import Unavailable
from jobs.store.commits import CancelOutcome
from jobs.store.intake import Accepted
from jobs.store.reads import read_generation
from jobs.tracing import here
from relay.event_stream import EventStream
from relay.feed import Feed
from relay.follow import Follower
from relay.services import Services


async def stream_events(services: Services, follower: Follower) -> Response:
    """What this follower gives; 204 when its end was seen already (protocol §5)."""
    if follower.has_seen_the_end:
        follower.close()
        return Response(status_code=204)
    if not follower.has_ended:
        await join(follower)
    return stream_joined(services, follower)


def stream_joined(
    services: Services, follower: Follower, headers: Mapping[str, str] | None = None
) -> Response:
    """The stream of a follower that is subscribed."""
    pulse = services.sources.pulse
    return EventStream(follower, pulse, headers, write_through=follower.write_through)


@contextmanager
def closed_on_failure(follower: Follower) -> Iterator[None]:
    """Closes it where the block fails; else it belongs to what the block made of it."""
    try:
        yield
    except BaseException:
        follower.close()
        raise


async def join(follower: Follower) -> bool:
    """Subscribes this follower; whether Redis acknowledged it. Closes it where that fails."""
    with closed_on_failure(follower):
        return await follower.join()


async def start_joined(services: Services, follower: Follower, accepted: Accepted) -> None:
    """Subscribes, then starts what was just stored; closes the follower where that fails."""
    acknowledged = await join(follower)
    if acknowledged and accepted.starts:
        follower.begin_queued()
    with closed_on_failure(follower):
        await start_accepted(services, accepted)


async def start_accepted(services: Services, accepted: Accepted) -> None:
    """Enqueues what was stored and tells what it interrupted; the rescuer repeats what fails."""
    for generation_id in accepted.interrupted:
        await _announce_interrupted(services, accepted.owner, generation_id)
    if accepted.starts:
        with here().child("enqueue", "producer"):
            await services.queue.enqueue(accepted.generation.id, 0)
    else:
        # What waits in line is told of by nobody else until its turn comes.
        await services.signals.changed(accepted.owner, accepted.generation)


async def _announce_interrupted(services: Services, owner: str, generation_id: str) -> None:
    """Hurries its worker, or tells that it ended where it waited."""
    try:
        generation = await read_generation(services.db, owner, generation_id)
    except Unavailable:
        # Its worker sees the request by the next beat, its readers the row by the next heartbeat.
        return
    if generation.state.terminal:
        if generation.attempt == 0:
            # It ended with this request; one that had run was ended and counted by its worker.
            services.counts.measures.note_end(generation)
        await services.signals.look(generation_id)
        await services.signals.changed(owner, generation)
    else:
        await services.signals.cancel(generation_id)


async def announce_cancel(services: Services, owner: str, outcome: CancelOutcome) -> None:
    """Hurries the worker that runs it, or tells that it ended before it ran."""
    generation = outcome.generation
    if outcome.ended_now:
        services.counts.measures.note_end(generation)
        await services.signals.look(generation.id)
        await services.signals.changed(owner, generation)
        if outcome.promoted is not None:
            await services.queue.enqueue(outcome.promoted, 0)
    elif not generation.state.terminal:
        await services.signals.cancel(generation.id)


def feed_stream(services: Services, owner: str) -> Response:
    """The owner's feed: a snapshot, then every change (protocol §4)."""
    return EventStream(Feed(services.sources, owner), services.sources.pulse)
