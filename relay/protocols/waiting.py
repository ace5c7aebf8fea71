"""An answer that is made while its reader waits for it: given up when the reader leaves."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobs.cancelling import end_tasks


class Awaited(Response):
    """Answers with what `make` gives, however long that takes; nothing is sent before."""

    def __init__(self, make: Callable[[], Awaitable[Response]]) -> None:
        super().__init__()
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer, unless its reader left first."""
        response: Response | None = None

        async def made() -> None:
            nonlocal response
            response = await self._make()

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        making, leaving = asyncio.create_task(made()), asyncio.create_task(left())
        try:
            await asyncio.wait({making, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                making.result()
        finally:
            await end_tasks({making, leaving})
        if response is not None:
            await response(scope, receive, send)
