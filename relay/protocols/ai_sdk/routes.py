"""`/ai/chat`: send, resume and stop, as the AI SDK's DefaultChatTransport calls them."""

import msgspec
from starlette.responses import PlainTextResponse, Response

from jobs.generation import Generation
from jobs.store.commits import request_cancel
from jobs.store.reads import read_stream_row
from jobs.store.requests import Thread
from jobs.store.threads import read_thread, unfinished_in_thread
from relay.bodies import MAX_HISTORY_BYTES, read_body
from relay.problems import Refusal
from relay.protocols.ai_sdk.chunks import HEADERS, Chunks
from relay.protocols.ai_sdk.request import Message, SendMessages, said_in
from relay.protocols.following import stream_projected
from relay.protocols.threads import begin, request_key
from relay.routes.operation import EVENT_STREAM, Answer, Call, Operation, Refusals, json_answer
from relay.streaming import announce_cancel

PROTOCOL = "ai-sdk"
REPLAYED_SECONDS = 60.0
"""How long after its end a run is still replayed: a page that loaded meanwhile has it cut short."""


class Stopped(msgspec.Struct, frozen=True):
    """The answer to a stop."""

    success: bool


async def send(call: Call) -> Response:
    """Answers the last message of the user, on this very response."""
    asked = (await read_body(call.request, SendMessages, max_bytes=MAX_HISTORY_BYTES)).value
    newest = asked.newest()
    said = said_in(newest)
    thread = Thread(PROTOCOL, asked.id)
    replaces = asked.replaces()
    given_up: tuple[str, ...] = ()
    if replaces is not None:
        unfinished = await unfinished_in_thread(call.services.db, call.access.owner, thread)
        given_up = tuple(one for one in unfinished if one != replaces.keeps)

    async def tell(generation: Generation, begun_before: bool) -> Chunks:
        # Nobody waits any more for what is replaced; it was not given up before this was stored.
        await _cancel(call, given_up)
        return Chunks(generation)

    return await begin(
        call,
        thread,
        said,
        asked.wish,
        tell,
        # What takes something back is meant anew each time.
        key=_key(asked.id, newest, said) if replaces is None else None,
        restartable=True,
        replaces=replaces,
        headers=HEADERS,
    )


async def resume(call: Call) -> Response:
    """The chat's newest answer from its start while it runs and shortly after, else 204."""
    services, access = call.services, call.access
    thread = Thread(PROTOCOL, call.request.path_params["id"])
    now = await read_thread(services.db, access.owner, thread, recent_seconds=REPLAYED_SECONDS)
    if now is None or not now.recent:
        return Response(status_code=204)
    if call.request.method == "HEAD":
        return Response(headers={"Content-Type": EVENT_STREAM})
    lease = services.settings.jobs.relay_lease_seconds
    row = await read_stream_row(services.db, now.generation.id, lease_seconds=lease)
    with services.slots.acquire(access.owner, access.token_prefix, reconnect=True) as slot:
        response = await stream_projected(
            services, now.generation.id, Chunks(now.generation), row, HEADERS
        )
        return slot.hold(response)


async def stop(call: Call) -> Response:
    """Cancels what runs or waits in the chat; also right where nothing does."""
    services, owner = call.services, call.access.owner
    thread = Thread(PROTOCOL, call.request.path_params["id"])
    # They come newest first, so that none that waits is started by the end of the one before.
    await _cancel(call, await unfinished_in_thread(services.db, owner, thread))
    return json_answer(Stopped(success=True))


def plain_refusal(refusal: Refusal, request_id: str) -> Response:
    """The reason alone, since `useChat` shows the body as it is (Shape)."""
    return PlainTextResponse(refusal.detail, refusal.status, refusal.headers)


async def _cancel(call: Call, generation_ids: tuple[str, ...]) -> None:
    services, owner = call.services, call.access.owner
    for generation_id in generation_ids:
        outcome = await request_cancel(services.db, owner, generation_id)
        await announce_cancel(services, owner, outcome)


def _key(chat_id: str, message: Message, said: str) -> str | None:
    """Makes a message that is sent twice one request; None where the client gave it no id."""
    if not message.id:
        return None
    return request_key(PROTOCOL, chat_id, message.id, said)


_REFUSALS = Refusals(str, "text/plain")
_STREAM = Answer("The message's chunks, in the AI SDK's words", str, EVENT_STREAM)

OPERATIONS = (
    Operation(
        "POST",
        "/ai/chat",
        send,
        "Answer a chat's last message",
        "generate",
        {200: (_STREAM,)},
        body=SendMessages,
        refusals=(404, 409, 429),
        refused=_REFUSALS,
    ),
    Operation(
        "GET",
        "/ai/chat/{id:path}/stream",
        resume,
        "Replay and follow a chat's newest answer",
        "read",
        {200: (_STREAM,), 204: (Answer("Nothing runs, and nothing ended just now"),)},
        refusals=(404,),
        refused=_REFUSALS,
    ),
    Operation(
        "POST",
        "/ai/chat/{id:path}/stop",
        stop,
        "Cancel what runs or waits in a chat",
        "generate",
        {200: (Answer("Nothing runs in it any more", Stopped),)},
        refusals=(404,),
        refused=_REFUSALS,
    ),
)
"""What `useChat` calls."""
