"""`POST /responses`: a generation is stored once, however often the SDK tries, and then shown."""

import re
import time

from starlette.responses import Response

from jobs.errors import OverBudget
from jobs.generation import Kind
from jobs.store.intake import Accepted, NewGeneration
from jobs.store.protocols import Begun
from jobs.store.requests import Tries
from jobs.store.tries import next_would_find
from relay.accepting import accept_generation, model_or_default, replay_headers, request_hash
from relay.bodies import MAX_HISTORY_BYTES, Body, read_body
from relay.errors import InvalidField, TooManyStreams
from relay.problems import refusal_of
from relay.protocols.following import stream_accepted_projected, stream_projected, wait_for_end
from relay.protocols.openai_responses.errors import SHOULD_RETRY, openai_error
from relay.protocols.openai_responses.events import ResponseEvents
from relay.protocols.openai_responses.objects import PROTOCOL, ResponseNotFound, response_id
from relay.protocols.openai_responses.reading import find_response, read_response
from relay.protocols.openai_responses.request import CreateResponse, persona_wish, said
from relay.protocols.waiting import Awaited
from relay.queries import body_id, idempotency_key
from relay.routes.operation import Call, json_answer
from relay.routes.starting import start_streamed
from relay.streaming import start_accepted

LONGEST_PAUSE_SECONDS = 130.0
"""Between two tries: the longest `Retry-After` that the SDKs obey, and some more."""

RETRY_COUNT = "x-stainless-retry-count"
"""How many tries of the same request an SDK has made before."""

_COUNT = re.compile(r"[0-9]{1,2}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)
_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""How long the SDK of Python and that of JavaScript say that they wait for an answer."""


async def create(call: Call) -> Response:
    """Starts a generation; answers at once, with its events, or once it has ended."""
    since = time.monotonic()
    body = await read_body(call.request, CreateResponse, max_bytes=MAX_HISTORY_BYTES)
    new = await _new_generation(call, body, since)
    try:
        return await _create(call, body.value, new)
    except (OverBudget, TooManyStreams) as error:
        if not await next_would_find(call.services.db, new):
            raise
        # A try of its own would be taken for that of another request in the same words.
        response = openai_error(refusal_of(error), call.request.state.request_id)
        response.headers[SHOULD_RETRY] = "false"
        return response


async def _create(call: Call, asked: CreateResponse, new: NewGeneration) -> Response:
    if asked.stream:
        return await start_streamed(call, new, lambda accepted: _events(call, new, accepted))
    if not asked.background:
        return await start_streamed(call, new, lambda accepted: _end(call, accepted))
    accepted = await accept_generation(call.services, new)
    if not accepted.replayed:
        await start_accepted(call.services, accepted)
    response = await read_response(call.services, _begun(new, accepted))
    return json_answer(response, headers=replay_headers(accepted))


async def _events(call: Call, new: NewGeneration, accepted: Accepted) -> Response:
    events = ResponseEvents(_begun(new, accepted))
    headers = replay_headers(accepted)
    if accepted.replayed:
        return await stream_projected(
            call.services, accepted.generation.id, events, headers=headers
        )
    return await stream_accepted_projected(call.services, accepted, events, headers)


async def _end(call: Call, accepted: Accepted) -> Response:
    if not accepted.replayed:
        await start_accepted(call.services, accepted)
    name = accepted.generation.id

    async def ended() -> Response:
        await wait_for_end(call.services, name)
        begun = await find_response(call.services, accepted.owner, response_id(name))
        response = await read_response(call.services, begun)
        return json_answer(response, headers=replay_headers(accepted))

    return Awaited(ended)


def _begun(new: NewGeneration, accepted: Accepted) -> Begun:
    return Begun(accepted.generation, new.asked or {})


async def _new_generation(call: Call, body: Body[CreateResponse], since: float) -> NewGeneration:
    asked = body.value
    metadata = asked.metadata or {}
    text, wish = said(asked.input), persona_wish(metadata, call.services.kinds)
    kind, persona_id = wish.kind, body_id(wish.persona_id)
    follows = None
    if asked.previous_response_id is not None:
        previous = await _previous(call, asked.previous_response_id)
        follows = previous.generation.id
        if previous.generation.persona_id is not None:
            kind, persona_id = Kind.REFINE, previous.generation.persona_id
    key = idempotency_key(call.request)
    return NewGeneration(
        owner=call.access.owner,
        kind=kind,
        input=text,
        model=model_or_default(call.services.settings.jobs, asked.model),
        follows=follows,
        persona_id=persona_id,
        name=wish.name,
        idempotency_key=key,
        idempotency_hash=request_hash(call.request, body.canonical),
        tries=_tries(call, since) if key is None else None,
        # The SDKs' protocol knows no reset.
        restartable=False,
        asked={
            "protocol": PROTOCOL,
            "background": bool(asked.background),
            "metadata": metadata,
            "previous_response_id": asked.previous_response_id,
        },
    )


async def _previous(call: Call, response: str) -> Begun:
    try:
        return await find_response(call.services, call.access.owner, response)
    except ResponseNotFound:
        reason = f"Previous response with id '{response}' not found."
        raise InvalidField("previous_response_id", reason) from None


def _tries(call: Call, since: float) -> Tries | None:
    """How often the SDK says that it has tried; it sends no key of its own for its tries."""
    headers, settings = call.request.headers, call.services.settings.jobs
    count = headers.get(RETRY_COUNT, "")
    if not _COUNT.fullmatch(count):
        return None
    # One that names no timeout has none; no answer takes longer than this.
    runs = settings.relay_max_attempts * settings.relay_generation_timeout_seconds
    longest = settings.relay_queue_expires_seconds + runs
    given = [headers[name] for name in _TIMEOUTS if _SECONDS.fullmatch(headers.get(name, ""))]
    waits = min(longest, *map(float, given)) if given else longest
    return Tries(int(count), waits + LONGEST_PAUSE_SECONDS, since)
