"""A request to the model that went out before its round began, and is closed if none takes it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic

from jobs.cancelling import end_tasks
from jobs.provider_blank import Answer


class AskedAhead(Generic[Answer]):
    """Asks at once; the answer goes to the first try of the round that takes it."""

    def __init__(self, asking: Coroutine[Any, Any, Answer]) -> None:
        self._asking: asyncio.Task[Answer] | None = asyncio.create_task(asking)

    @property
    def is_left(self) -> bool:
        """Whether no try has taken its answer yet."""
        return self._asking is not None

    async def answer(self) -> Answer:
        """The answer, for the caller to close, once; raises what asking for it raises.

        A caller that is cancelled meanwhile cancels the request.
        """
        asking = self._asking
        assert asking is not None
        try:
            answer = await asking
        except Exception:
            # Not where the caller is cancelled: it may have come in the same moment.
            self._asking = None
            raise
        self._asking = None
        return answer

    async def let_go(self) -> None:
        """Closes it unless its answer was taken."""
        asking, self._asking = self._asking, None
        if asking is None:
            return
        await end_tasks([asking])
        if not asking.cancelled() and asking.exception() is None:
            await asking.result().close()
