"""A request in a client's own thread becomes a generation, and its stream in that client's words.

The same request once more is shown the generation that it began, and never begins another.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from starlette.responses import Response

from jobs.clean import unacceptable
from jobs.generation import Generation, Kind
from jobs.store.intake import Accepted, NewGeneration
from jobs.store.requests import Replaces, Thread
from relay.accepting import model_or_default
from relay.bodies import MAX_INPUT_CHARACTERS
from relay.errors import InvalidField
from relay.protocols.following import stream_accepted_projected, stream_projected
from relay.protocols.projection import Projection
from relay.queries import body_id
from relay.routes.operation import Call
from relay.routes.starting import start_streamed


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may ask for beside its own protocol; it counts where the thread begins.

    Without a kind it is a `refine` where a persona is named, else a `chat`.
    """

    kind: Kind | None = None
    persona_id: str | None = None
    name: str | None = None
    model: str | None = None


Tell = Callable[[Generation, bool], Awaitable[Projection]]
"""The words for a generation, and whether it was begun by an earlier request."""


async def begin(
    call: Call,
    thread: Thread,
    said: str,
    wish: Wish,
    tell: Tell,
    *,
    key: str | None,
    restartable: bool,
    replaces: Replaces | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The stream of the thread's next generation; it waits in line while another one is active.

    One that `replaces` what was said last is answered as if that had never been.

    `key` is what the client's protocol makes the request known by, if anything. Nothing is stored
    where this raises, OutcomeUnknown apart.
    """
    kind = wish.kind or (Kind.CHAT if wish.persona_id is None else Kind.REFINE)
    new = NewGeneration(
        owner=call.access.owner,
        kind=kind,
        input=said,
        model=model_or_default(call.services.settings.jobs, wish.model),
        persona_id=body_id(wish.persona_id),
        name=wish.name if kind is Kind.GENERATE else None,
        thread=thread,
        replaces=replaces,
        on_active="queue",
        idempotency_key=key,
        restartable=restartable,
    )

    async def show(accepted: Accepted) -> Response:
        projection = await tell(accepted.generation, accepted.replayed)
        if accepted.replayed:
            return await stream_projected(
                call.services, accepted.generation.id, projection, headers=headers
            )
        return await stream_accepted_projected(call.services, accepted, projection, headers)

    return await start_streamed(call, new, show)


async def attach(call: Call, generation_id: str, projection: Projection) -> Response:
    """The stream of a generation that was begun before; it always gets a place."""
    access, slots = call.access, call.services.slots
    with slots.acquire(access.owner, access.token_prefix, reconnect=True) as slot:
        return slot.hold(await stream_projected(call.services, generation_id, projection))


def checked_input(field: str, said: str) -> str:
    """The user's words; InvalidField where there are none, or more than the native API takes."""
    if not said.strip():
        raise InvalidField(field, "has no user message with text in it")
    if reason := unacceptable(said):
        raise InvalidField(field, reason)
    if len(said) > MAX_INPUT_CHARACTERS:
        raise InvalidField(field, f"has over {MAX_INPUT_CHARACTERS} characters of input")
    return said


def request_key(protocol: str, *words: str) -> str:
    """What makes requests with the same words in this protocol one."""
    said = "\0".join(words).encode("utf-8", "surrogatepass")
    # No header can hold a space, so no key of the native API is this one.
    return f"{protocol} {hashlib.sha256(said).hexdigest()}"
