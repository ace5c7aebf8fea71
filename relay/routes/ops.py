"""The operator's feed: how the whole system stands, for admins (protocol §4)."""

from starlette.responses import Response

from relay.event_stream import EventStream
from relay.ops_feed import OpsFeed
from relay.routes.operation import EVENT_STREAM, Answer, Call, Operation
from relay.routes.streams import FIGURES_STREAM


async def follow(call: Call) -> Response:
    """A reading at once, then one each tick."""
    if call.request.method == "HEAD":
        return Response(headers={"Content-Type": EVENT_STREAM})
    services, access = call.services, call.access
    pulse = services.sources.pulse
    with services.slots.acquire(access.owner, access.token_prefix, kind="ops") as slot:
        heartbeat = services.settings.relay_heartbeat_seconds
        feed = OpsFeed(services.figures, services.slots, pulse, heartbeat)
        return slot.hold(EventStream(feed, pulse))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/ops/feed",
        follow,
        "Follow how the whole system stands",
        "admin",
        {200: (Answer("`figures`, every 2 s", FIGURES_STREAM, EVENT_STREAM),)},
        refusals=(429,),
    ),
)
"""The page at `/ops` shows it."""
