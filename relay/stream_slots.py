"""How many streams an owner holds open in this process, and which end when a token is revoked.

A slot is taken before a stream is made and given back when its response is over, or never began.
"""

from collections import Counter, defaultdict
from types import TracebackType
from typing import Literal, get_args

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.errors import TooManyStreams

StreamKind = Literal["events", "feed", "ops"]


class StreamSlots:
    """The open streams of this process; `limit` an owner and kind, 0 for no limit.

    The kinds are counted apart, so that a page's feed is never crowded out by its streams.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[tuple[str, StreamKind]] = Counter()
        self._scopes: defaultdict[str, set[anyio.CancelScope]] = defaultdict(set)

    def open_streams(self, owner: str, kind: StreamKind = "events") -> int:
        """How many slots of this kind the owner holds."""
        return self._open[owner, kind]

    def open_by_kind(self) -> dict[str, int]:
        """How many slots of each kind all owners hold together."""
        kinds: Counter[str] = Counter(dict.fromkeys(get_args(StreamKind), 0))
        for (_, kind), count in self._open.items():
            kinds[kind] += count
        return dict(kinds)

    def has_room(self, owner: str, kind: StreamKind = "events") -> bool:
        """Whether a stream that is no reconnect would be taken in."""
        return not self._limit or self._open[owner, kind] < self._limit

    def acquire(
        self,
        owner: str,
        token_prefix: str | None = None,
        *,
        kind: StreamKind = "events",
        reconnect: bool = False,
    ) -> "Slot":
        """A slot for one stream; a reconnect always gets one. Raises TooManyStreams."""
        if not reconnect and not self.has_room(owner, kind):
            raise TooManyStreams(self._limit)
        self._open[owner, kind] += 1
        return Slot(self, (owner, kind), token_prefix)

    def token_prefixes(self) -> frozenset[str]:
        """The tokens behind the streams that are being sent."""
        return frozenset(self._scopes)

    def end_streams(self, token_prefix: str) -> None:
        """Cuts off every stream that was opened with this token."""
        for scope in tuple(self._scopes.get(token_prefix, ())):
            scope.cancel()

    def _release(self, counted: tuple[str, StreamKind]) -> None:
        self._open[counted] -= 1
        if not self._open[counted]:
            del self._open[counted]


class Slot:
    """One stream's place; given back once, by `release` or by the response that holds it.

    As a context manager it is released only when the block fails: a slot whose stream was made
    belongs to the response from then on.
    """

    def __init__(
        self, slots: StreamSlots, counted: tuple[str, StreamKind], token_prefix: str | None
    ) -> None:
        self._slots = slots
        self._counted = counted
        self._prefix = token_prefix
        self._released = False

    def release(self) -> None:
        """Gives the place back; again does nothing."""
        if not self._released:
            self._released = True
            self._slots._release(self._counted)

    def hold(self, response: Response) -> "HeldStream":
        """The same response, which gives the place back when it is over."""
        return HeldStream(self, response)

    def __enter__(self) -> "Slot":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.release()

    async def _run(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._prefix is None:
                await response(scope, receive, send)
                return
            with anyio.CancelScope() as cut:
                scopes = self._slots._scopes[self._prefix]
                scopes.add(cut)
                try:
                    await response(scope, receive, send)
                finally:
                    scopes.discard(cut)
                    if not scopes:
                        self._slots._scopes.pop(self._prefix, None)
        finally:
            self.release()


class HeldStream(Response):
    """A response that holds a slot while it is sent."""

    def __init__(self, slot: Slot, response: Response) -> None:
        self._slot = slot
        self._response = response
        self.status_code = response.status_code
        self.background = None
        self.raw_headers = response.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The other response sends them, and then lets go of them.
        self.raw_headers = []
        await self._slot._run(self._response, scope, receive, send)
