"""A response as it is now: of one that has ended, all of it, from SQL alone."""

import sys

from jobs.errors import NotFound
from jobs.store.protocols import Begun, read_begun
from jobs.store.reads import read_replay_source
from relay.protocols.openai_responses.events import ResponseEvents
from relay.protocols.openai_responses.objects import (
    PROTOCOL,
    Json,
    ResponseNotFound,
    generation_id,
    response_object,
    status_of,
)
from relay.protocols.projection import retell
from relay.services import Services


async def find_response(services: Services, owner: str, response: str) -> Begun:
    """The generation of this owner's response; raises ResponseNotFound, Unavailable."""
    try:
        return await read_begun(services.db, owner, generation_id(response), PROTOCOL)
    except NotFound:
        raise ResponseNotFound(response) from None


async def read_response(services: Services, begun: Begun) -> Json:
    """The response; its output is there once it has ended. Raises Unavailable."""
    if not begun.generation.state.terminal:
        return response_object(begun, status_of(begun.generation))
    events = ResponseEvents(begun, after=sys.maxsize)
    retell(await read_replay_source(services.db, begun.generation.id), events)
    assert events.response is not None, "its last event was told"
    return events.response
