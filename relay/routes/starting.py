"""From a well-formed request to the answer about its generation: one way for all three calls."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.responses import Response

from jobs.generation import Generation, Kind, OnActive
from jobs.ids import new_id
from jobs.store.conversations import read_conversation
from jobs.store.intake import Accepted, NewGeneration, knows_key
from jobs.store.personas import read_persona
from relay.accepting import accept_generation, accepted_headers, request_hash, resolve_model
from relay.follow import Follower
from relay.queries import IdempotencyKey, body_id, flag, idempotency_key
from relay.routes.operation import EVENT_STREAM, Answer, Call, Parameter, json_answer
from relay.routes.streams import GENERATION_STREAM
from relay.start_ahead import StartAhead
from relay.streaming import closed_on_failure, start_accepted, stream_events, stream_joined

STARTING = (
    Parameter("stream", "`true`: answer with the generation's events on this very response", bool),
    Parameter(
        "Idempotency-Key",
        "The same key, path and body give the same generation again",
        IdempotencyKey,
        place="header",
    ),
)
"""What every call that starts a generation takes beside its body."""

STARTED = {
    200: (
        Answer(
            "With `stream=true`: the events",
            GENERATION_STREAM,
            EVENT_STREAM,
            ("Location", "Idempotent-Replay"),
        ),
    ),
    202: (
        Answer(
            "The generation, stored and about to run",
            Generation,
            headers=("Location", "Idempotent-Replay"),
        ),
    ),
}
"""What every call that starts a generation answers."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, before its model and its key are looked at."""

    kind: Kind
    input: str
    model: str | None
    conversation_id: str | None = None
    persona_id: str | None = None
    name: str | None = None
    on_active: OnActive = "reject"


async def start(call: Call, canonical_body: bytes, wish: Wish) -> Response:
    """Stores the generation and answers 202 with it, or 200 with its stream.

    Nothing is stored where this raises, OutcomeUnknown apart.
    """
    streamed = flag(call.request, "stream")
    key = idempotency_key(call.request)
    # Before ids are looked at (protocol §4).
    call.services.kinds.refuse_unfit(wish.kind, wish.input)
    new = NewGeneration(
        owner=call.access.owner,
        kind=wish.kind,
        input=wish.input,
        model=resolve_model(call.services.settings.jobs, wish.model),
        conversation_id=body_id(wish.conversation_id),
        persona_id=body_id(wish.persona_id),
        name=wish.name,
        on_active=wish.on_active,
        idempotency_key=key,
        idempotency_hash=request_hash(call.request, canonical_body) if key else None,
    )
    if streamed:
        return await _start_listening(call, new)
    accepted = await accept_generation(call.services, new)
    if not accepted.replayed:
        await start_accepted(call.services, accepted)
    return json_answer(accepted.generation, 202, accepted_headers(call.request, accepted))


async def start_streamed(
    call: Call,
    new: NewGeneration,
    respond: Callable[[Accepted], Awaitable[Response]],
    ahead: StartAhead | None = None,
) -> Response:
    """Stores the generation and holds a stream's place for the response that shows it.

    `respond` starts it too, unless it is a replay, or finishes what `ahead` has begun; the caller
    lets go of that. Raises TooManyStreams, with nothing stored.
    """
    access, slots = call.access, call.services.slots
    replays = False
    if not slots.has_room(access.owner):
        await _refuse_unknown(call, new)
        # A replay comes before a limit, as a reconnect does (protocol §4).
        key = new.idempotency_key
        replays = key is not None and await knows_key(call.services.db, new.owner, key)
    # The place is taken first: a stream that can't be shown leaves no generation behind.
    with slots.acquire(access.owner, access.token_prefix, reconnect=replays) as slot:
        if ahead is None:
            accepted = await accept_generation(call.services, new)
        else:
            ahead.listen_soon()
            accepted = await accept_generation(call.services, new, ahead.generation_id, ahead.begin)
        return slot.hold(await respond(accepted))


async def _start_listening(call: Call, new: NewGeneration) -> Response:
    """Starts the generation while it is being stored: its reader waits for the longer of both."""
    follower = Follower(call.services.sources, new_id("gen"))
    ahead = StartAhead(call.services, follower)

    async def stream(accepted: Accepted) -> Response:
        headers = accepted_headers(call.request, accepted)
        if not accepted.replayed:
            await ahead.finish(accepted)
            return stream_joined(call.services, follower, headers)
        follower.close()
        follows = Follower(call.services.sources, accepted.generation.id)
        response = await stream_events(call.services, follows)
        response.headers.update(headers)
        return response

    with closed_on_failure(follower):
        try:
            return await start_streamed(call, new, stream, ahead)
        finally:
            await ahead.let_go()


async def _refuse_unknown(call: Call, new: NewGeneration) -> None:
    # An unknown id is refused before a limit is (protocol §4).
    if new.persona_id is not None:
        await read_persona(call.services.db, new.owner, new.persona_id)
    elif new.conversation_id is not None:
        await read_conversation(call.services.db, new.owner, new.conversation_id)
