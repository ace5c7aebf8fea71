"""The calls of the Responses API, as the SDKs make them."""

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

from msgspec import Meta
from starlette.responses import Response

from jobs.errors import NotFound
from jobs.store.commits import request_cancel
from jobs.store.protocols import Begun, hide, is_hidden
from jobs.store.reads import read_stream_row
from relay.bodies import refuse_body
from relay.errors import InvalidField
from relay.protocols.following import stream_projected, wait_for_end
from relay.protocols.openai_responses.creating import RETRY_COUNT, create
from relay.protocols.openai_responses.errors import REFUSALS
from relay.protocols.openai_responses.events import ResponseEvents
from relay.protocols.openai_responses.objects import (
    PROTOCOL,
    Json,
    ResponseNotFound,
    generation_id,
    input_item,
)
from relay.protocols.openai_responses.reading import find_response, read_response
from relay.protocols.openai_responses.request import CreateResponse, starting_after
from relay.queries import IdempotencyKey, PageLimit, flag, limit
from relay.routes.operation import (
    BODY_REFUSALS,
    EVENT_STREAM,
    Answer,
    Call,
    Operation,
    Parameter,
    json_answer,
)
from relay.streaming import announce_cancel

CANCEL_SECONDS = 8.0
"""How long a cancellation is waited for, so that its answer is the final response."""

Number = Annotated[int, Meta(ge=0, le=999_999_999)]
"""Of an event of a response."""

_RESPONSES = "/openai/v1/responses"


async def retrieve(call: Call) -> Response:
    """The response as it is now, or its events after the one that was received last."""
    after = starting_after(call.request)
    begun = await _begun(call)
    if not flag(call.request, "stream"):
        return json_answer(await read_response(call.services, begun))
    services, access, row = call.services, call.access, None
    if begun.generation.state.terminal:
        lease = services.settings.jobs.relay_lease_seconds
        row = await read_stream_row(services.db, begun.generation.id, lease_seconds=lease)
    events = ResponseEvents(begun, after)
    with services.slots.acquire(access.owner, access.token_prefix, reconnect=True) as slot:
        return slot.hold(await stream_projected(services, begun.generation.id, events, row))


async def cancel(call: Call) -> Response:
    """Stops it; answers with the final response, of one that had ended too."""
    await refuse_body(call.request)
    begun = await _begun(call)
    await _stop(call, begun)
    with suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_SECONDS):
            await wait_for_end(call.services, begun.generation.id)
    return json_answer(await read_response(call.services, await _begun(call)))


async def delete(call: Call) -> Response:
    """Stops it, and makes it unknown to this protocol."""
    await refuse_body(call.request)
    response = call.request.path_params["id"]
    try:
        begun = await _begun(call)
        await _stop(call, begun)
        await hide(call.services.db, call.access.owner, begun.generation.id)
    except NotFound:
        if not await _was_deleted_by_an_earlier_try(call):
            raise ResponseNotFound(response) from None
    return json_answer({"id": response, "object": "response", "deleted": True})


async def list_input_items(call: Call) -> Response:
    """What it was asked: the one user message."""
    limit(call.request)
    if call.request.query_params.get("order", "desc") not in ("asc", "desc"):
        raise InvalidField("order", "must be asc or desc")
    item = input_item((await _begun(call)).generation)
    after = call.request.query_params.get("after")
    if after not in (None, item["id"]):
        raise InvalidField("after", "is not an item of this response")
    data = [item] if after is None else []
    page = {"object": "list", "data": data, "has_more": False}
    return json_answer({**page, "first_id": item["id"], "last_id": item["id"]})


async def _begun(call: Call) -> Begun:
    return await find_response(call.services, call.access.owner, call.request.path_params["id"])


async def _was_deleted_by_an_earlier_try(call: Call) -> bool:
    """Whether the SDK only asks once more for an answer that it did not get."""
    if call.request.headers.get(RETRY_COUNT, "0") == "0":
        return False
    name = generation_id(call.request.path_params["id"])
    return await is_hidden(call.services.db, call.access.owner, name, PROTOCOL)


async def _stop(call: Call, begun: Begun) -> None:
    if not begun.generation.state.terminal:
        owner = call.access.owner
        outcome = await request_cancel(call.services.db, owner, begun.generation.id)
        await announce_cancel(call.services, owner, outcome)


_EVENTS = Answer("With `stream=true`: its events, in OpenAI's words", str, EVENT_STREAM)

OPERATIONS = (
    Operation(
        "POST",
        _RESPONSES,
        create,
        "Create a response",
        "generate",
        {200: (Answer("The response", Json), _EVENTS)},
        body=CreateResponse,
        parameters=(
            Parameter("Idempotency-Key", "As in the native API", IdempotencyKey, place="header"),
        ),
        refusals=(404, 409, 429),
        refused=REFUSALS,
    ),
    Operation(
        "GET",
        f"{_RESPONSES}/{{id}}",
        retrieve,
        "Retrieve a response",
        "read",
        {200: (Answer("The response", Json), _EVENTS)},
        parameters=(
            Parameter("stream", "`true`: answer with its events", bool),
            Parameter("starting_after", "The number of the last event that was seen", Number),
        ),
        refusals=(404, 422),
        refused=REFUSALS,
    ),
    Operation(
        "DELETE",
        f"{_RESPONSES}/{{id}}",
        delete,
        "Delete a response",
        "generate",
        {200: (Answer("It is unknown here from now on", Json),)},
        refusals=(404, *BODY_REFUSALS),
        refused=REFUSALS,
    ),
    Operation(
        "POST",
        f"{_RESPONSES}/{{id}}/cancel",
        cancel,
        "Cancel a response",
        "generate",
        {200: (Answer("The final response", Json),)},
        refusals=(404, *BODY_REFUSALS),
        refused=REFUSALS,
    ),
    Operation(
        "GET",
        f"{_RESPONSES}/{{id}}/input_items",
        list_input_items,
        "List its input",
        "read",
        {200: (Answer("Its one user message", Json),)},
        parameters=(
            Parameter("limit", "How many items at most", PageLimit),
            Parameter("order", "The order of the items", Literal["asc", "desc"]),
            Parameter("after", "The id of the last item that was seen"),
        ),
        refusals=(404, 422),
        refused=REFUSALS,
    ),
)
"""The calls of the Responses API."""
