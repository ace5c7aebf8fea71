"""The answer to a reader while the database is away: come back soon (protocol §5).

A browser's EventSource gives up for good at a 5xx, but reconnects after a body that was cut off.
"""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobs.events import retry_frame

RETRY_MILLISECONDS = 2000


class Undecided(Response):
    """200, `retry: 2000`, then nothing: the body is never completed, so the server aborts it."""

    def __init__(self) -> None:
        super().__init__(
            headers={
                # Named here, since Starlette would add a charset to a media type.
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what there is, and returns with the body unfinished."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send(
            {
                "type": "http.response.body",
                "body": retry_frame(RETRY_MILLISECONDS),
                "more_body": True,
            }
        )
