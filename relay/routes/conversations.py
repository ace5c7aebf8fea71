"""Conversations: all that a page needs after a reload, in one snapshot (protocol §4)."""

from starlette.responses import Response

from jobs.store.conversations import ConversationResource, read_conversation
from relay.queries import path_id
from relay.routes.operation import Answer, Call, Operation, json_answer


async def read(call: Call) -> Response:
    """A conversation's turns, its active generation and the waiting ones, in order."""
    conversation_id = path_id(call.request)
    return json_answer(
        await read_conversation(call.services.db, call.access.owner, conversation_id)
    )


OPERATIONS = (
    Operation(
        "GET",
        "/v1/conversations/{id}",
        read,
        "Read a conversation with its active and waiting generations",
        "read",
        {200: (Answer("One snapshot", ConversationResource),)},
        refusals=(404,),
    ),
)
