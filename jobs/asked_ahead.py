"""A request to the model that went out before its claim was stored, and is closed if none takes it.

Its attempt is prepared meanwhile, up to the answer, which is given once the claim is confirmed.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic

from jobs.cancelling import end_tasks
from jobs.provider_blank import Answer


class AskedAhead(Generic[Answer]):
    """Asks at once; the answer goes to the first try of the round that takes it, if confirmed."""

    def __init__(self, asking: Coroutine[Any, Any, Answer]) -> None:
        self._asking: asyncio.Task[Answer] | None = asyncio.create_task(asking)
        self._asked_at = time.monotonic()
        self._waited = 0.0
        self._confirmed = asyncio.Event()
        self._first: Callable[[], None] | None = None

    def when_confirmed(self, call: Callable[[], None]) -> None:
        """Calls this once it is confirmed, before anybody has the answer; at once if it is."""
        if self._confirmed.is_set():
            call()
        else:
            self._first = call

    def confirm(self) -> None:
        """Lets the answer be taken: the claim that it was asked for is stored."""
        self._waited = time.monotonic() - self._asked_at
        self._confirmed.set()
        first, self._first = self._first, None
        if first is not None:
            first()

    async def confirmed(self) -> float:
        """How many seconds it took to be confirmed; does not return before, and perhaps never.

        The model is not to blame for them: no deadline of it has begun until then.
        """
        await self._confirmed.wait()
        return self._waited

    @property
    def is_left(self) -> bool:
        """Whether no try has taken its answer yet."""
        return self._asking is not None

    async def answer(self) -> Answer:
        """The answer, for the caller to close, once; raises what asking for it raises.

        Only to be called once it is confirmed. A caller that is cancelled cancels the request.
        """
        assert self._confirmed.is_set()
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
