"""The feed: every change and deletion of the owner's, as it is committed (protocol §4)."""

from starlette.responses import Response

from relay.routes.operation import EVENT_STREAM, Answer, Call, Operation
from relay.routes.streams import FEED_STREAM
from relay.streaming import feed_stream


async def follow(call: Call) -> Response:
    """A snapshot of all active generations, then each change."""
    if call.request.method == "HEAD":
        return Response(headers={"Content-Type": EVENT_STREAM})
    owner, prefix = call.access.owner, call.access.token_prefix
    with call.services.slots.acquire(owner, prefix, kind="feed") as slot:
        return slot.hold(feed_stream(call.services, call.access.owner))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/feed",
        follow,
        "Follow the changes of all generations",
        "read",
        {
            200: (
                Answer(
                    "`snapshot`, then `generation`, `deleted` and `heartbeat`",
                    FEED_STREAM,
                    EVENT_STREAM,
                ),
            )
        },
        refusals=(429,),
    ),
)
