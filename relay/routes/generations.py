"""Generations: started, read, followed, cancelled (protocol §4)."""

import asyncio

from starlette.responses import Response

from jobs.errors import NotFound, Unavailable
from jobs.generation import Generation, Kind, State, events_url, rfc3339
from jobs.store.commits import request_cancel
from jobs.store.pages import Page
from jobs.store.reads import StreamRow, list_generations, read_generation, read_stream_row
from relay.auth import Access, authorize_stream, make_ticket
from relay.bodies import CreateGeneration, read_body, refuse_body
from relay.follow import Follower, read_cursor
from relay.queries import choice, known_kind, limit, of_persona, page_cursor, path_id, stream_cursor
from relay.routes.models import StreamTicket
from relay.routes.operation import (
    BODY_REFUSALS,
    EVENT_STREAM,
    PAGING,
    Answer,
    Call,
    Operation,
    Parameter,
    json_answer,
)
from relay.routes.starting import STARTED, STARTING, Wish, start
from relay.routes.streams import GENERATION_STREAM
from relay.streaming import announce_cancel, closed_on_failure, stream_events
from relay.undecided import Undecided

ROW_AFTER_SECONDS = 0.01
"""When a row is read that was not waited for: its thread is in nobody's way by then."""


async def create(call: Call) -> Response:
    """Starts a generation of any kind."""
    body = await read_body(call.request, CreateGeneration)
    asked = body.value
    wish = Wish(
        kind=asked.kind,
        input=asked.input,
        model=asked.model,
        conversation_id=asked.conversation_id,
        persona_id=asked.persona_id,
        name=asked.name,
        on_active=asked.on_active,
    )
    return await start(call, body.canonical, wish)


async def read(call: Call) -> Response:
    """One generation."""
    generation_id = path_id(call.request)
    return json_answer(await read_generation(call.services.db, call.access.owner, generation_id))


async def list_page(call: Call) -> Response:
    """The owner's generations, newest first."""
    page = await list_generations(
        call.services.db,
        call.access.owner,
        choice(call.request, "state", State),
        known_kind(call.request, call.services.kinds),
        limit(call.request),
        page_cursor(call.request),
        persona_id=of_persona(call.request),
    )
    return json_answer(page)


async def follow(call: Call) -> Response:
    """The events of a generation, from the reader's cursor on (protocol §5); raises NotFound."""
    cursor = stream_cursor(call.request)
    try:
        access = await authorize_stream(call.services, call.request, call.request.path_params["id"])
        generation_id = path_id(call.request)
        if call.request.method == "HEAD":
            await _read_row(call, access, generation_id)
            return Response(headers={"Content-Type": EVENT_STREAM})
        follower = Follower(call.services.sources, generation_id, read_cursor(cursor))
        with closed_on_failure(follower):
            follower.read_ahead()
            await _place(call, access, follower)
            # In this turn of the loop the rest is asked for: it comes while the answer is begun.
            await asyncio.sleep(0)
            slots, reconnect = call.services.slots, cursor is not None
            with slots.acquire(access.owner, access.token_prefix, reconnect=reconnect) as slot:
                return slot.hold(await stream_events(call.services, follower))
    except Unavailable:
        # A browser never comes back after a 503.
        return Undecided()


async def _place(call: Call, access: Access, follower: Follower) -> None:
    """Lets it know where the generation stands: by its row, or by the log where that tells first.

    The log does not say whose it is: that has to be known already. Raises NotFound.
    """
    generation_id = follower.generation_id
    owned = call.services.owners.recall(generation_id) == access.owner
    if owned and await follower.presume(access.owner):
        follower.follow_up(asyncio.create_task(_read_row_later(call, access, generation_id)))
    else:
        follower.know(await _read_row(call, access, generation_id))


async def _read_row_later(call: Call, access: Access, generation_id: str) -> StreamRow:
    await asyncio.sleep(ROW_AFTER_SECONDS)
    return await _read_row(call, access, generation_id)


async def _read_row(call: Call, access: Access, generation_id: str) -> StreamRow:
    owners, lease = call.services.owners, call.services.settings.jobs.relay_lease_seconds
    row = await read_stream_row(call.services.db, generation_id, lease_seconds=lease)
    if row is None or row.state.terminal:
        owners.forget(generation_id)
    else:
        owners.note(generation_id, row.owner)
    if row is None or row.owner != access.owner:
        raise NotFound(generation_id)
    return row


async def cancel(call: Call) -> Response:
    """Stops a generation: at once while it waits, else as soon as its worker hears of it."""
    await refuse_body(call.request)
    owner = call.access.owner
    outcome = await request_cancel(call.services.db, owner, path_id(call.request))
    await announce_cancel(call.services, owner, outcome)
    ended = outcome.generation.state.terminal
    return json_answer(outcome.generation, 200 if ended else 202)


async def ticket(call: Call) -> Response:
    """A short-lived URL for EventSource, which can send no header."""
    await refuse_body(call.request)
    generation = await read_generation(call.services.db, call.access.owner, path_id(call.request))
    text, expires_at = make_ticket(call.services, call.access, generation.id)
    url = f"{events_url(generation.id)}?ticket={text}"
    return json_answer(StreamTicket(url, rfc3339(expires_at)))


OPERATIONS = (
    Operation(
        "POST",
        "/v1/generations",
        create,
        "Start a generation",
        "generate",
        STARTED,
        body=CreateGeneration,
        parameters=STARTING,
        refusals=(404, 409, 429),
    ),
    Operation(
        "GET",
        "/v1/generations",
        list_page,
        "List generations, newest first",
        "read",
        {200: (Answer("A page", Page[Generation]),)},
        parameters=(
            Parameter("state", "Only those in this state", State),
            Parameter("kind", "Only those of this kind", Kind),
            Parameter("persona_id", "Only those of this persona; `none`: those of no persona"),
            *PAGING,
        ),
        refusals=(422,),
    ),
    Operation(
        "GET",
        "/v1/generations/{id}",
        read,
        "Read a generation",
        "read",
        {200: (Answer("The generation", Generation),)},
        refusals=(404,),
    ),
    Operation(
        "GET",
        "/v1/generations/{id}/events",
        follow,
        "Follow a generation's events, replayed from a cursor, then live",
        "ticket",
        {
            200: (Answer("The events", GENERATION_STREAM, EVENT_STREAM),),
            204: (Answer("The cursor is that of the terminal event: there is no more"),),
        },
        parameters=(
            Parameter("after", "The id of the last event that was seen"),
            Parameter("Last-Event-ID", "The same; wins over `after`", place="header"),
            Parameter("ticket", "A ticket, in place of the Authorization header"),
        ),
        refusals=(404, 429),
    ),
    Operation(
        "POST",
        "/v1/generations/{id}/cancel",
        cancel,
        "Cancel a generation",
        "generate",
        {
            200: (Answer("It has ended", Generation),),
            202: (Answer("It is being stopped", Generation),),
        },
        refusals=(404, *BODY_REFUSALS),
    ),
    Operation(
        "POST",
        "/v1/generations/{id}/ticket",
        ticket,
        "Make a URL that opens the events without a header",
        "read",
        {200: (Answer("The URL", StreamTicket),)},
        refusals=(404, *BODY_REFUSALS),
    ),
)
