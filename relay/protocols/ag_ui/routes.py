"""`/ag-ui`: a run, or the same run once more, as `HttpAgent` calls it."""

from starlette.responses import Response

from jobs.generation import Generation
from jobs.store.conversations import read_conversation
from jobs.store.protocols import read_under_key
from jobs.store.requests import Thread
from relay.bodies import MAX_HISTORY_BYTES, read_body
from relay.protocols.ag_ui.events import Events
from relay.protocols.ag_ui.history import messages_before
from relay.protocols.ag_ui.request import RunInput
from relay.protocols.threads import attach, begin, request_key
from relay.routes.operation import EVENT_STREAM, Answer, Call, Operation

PROTOCOL = "ag-ui"


async def run(call: Call) -> Response:
    """Begins the run, or attaches to it, running or ended, if it was begun before."""
    asked = (await read_body(call.request, RunInput, max_bytes=MAX_HISTORY_BYTES)).value
    run_id = asked.checked_run_id()
    services, owner = call.services, call.access.owner
    key = request_key(PROTOCOL, asked.thread_id, run_id)

    async def tell(generation: Generation, begun_before: bool) -> Events:
        snapshot = None
        if begun_before:
            conversation = await read_conversation(services.db, owner, generation.conversation_id)
            snapshot = messages_before(conversation, generation, asked.messages)
        return Events(generation, asked.thread_id, run_id, snapshot)

    # Before its words are looked at: a page that was opened anew has none.
    begun = await read_under_key(services.db, owner, key)
    if begun is not None:
        return await attach(call, begun.id, await tell(begun, True))
    return await begin(
        call,
        Thread(PROTOCOL, asked.thread_id, "threadId"),
        asked.said(),
        asked.wish(services.kinds),
        tell,
        key=key,
        restartable=False,
    )


OPERATIONS = (
    Operation(
        "POST",
        "/ag-ui",
        run,
        "Run an agent, or attach to its run",
        "generate",
        {200: (Answer("The run's events, in AG-UI's words", str, EVENT_STREAM),)},
        body=RunInput,
        refusals=(404, 409, 429),
    ),
)
"""What `HttpAgent` calls."""
