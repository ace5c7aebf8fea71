"""A reader over real HTTP that does as a browser's EventSource does, and forgets nothing."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp

from jobs.cursor import Cursor
from tests.relay.heard import Heard, heard, text_of

TERMINAL = frozenset({"completed", "failed", "cancelled", "expired"})
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""A relay that says nothing for so long, heartbeats neither, is as good as gone."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event: when it came (monotonic), over which of the reader's connections, and what."""

    at: float
    connection: int
    event: Heard


@dataclass(frozen=True, slots=True)
class Trouble:
    """The end of a connection before the generation's: when, which, and how it showed."""

    at: float
    connection: int
    how: str


class Stopped(Exception):
    """An answer at which a browser gives up for good."""


class Reader:
    """Follows one generation to its end, reconnecting with the last id that it saw.

    `where` gives the base URL for each connection: any replica, as behind a balancer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        where: Callable[[], str],
        generation_id: str,
        *,
        cursor: str = "",
        name: str = "reader",
    ) -> None:
        self.generation_id = generation_id
        self.name = name
        self.first_cursor = self.last_id = cursor
        self.seen: list[Seen] = []
        self.troubles: list[Trouble] = []
        self.retries: list[int] = []
        self.connections = 0
        self.answered_204 = False
        self._session = session
        self.where = where
        self._response: aiohttp.ClientResponse | None = None
        self._news = asyncio.Event()
        self._retry_ms = 1000
        self._task: asyncio.Task[None] | None = None

    # What it saw.

    @property
    def events(self) -> list[Heard]:
        """Every event, heartbeats too."""
        return [one.event for one in self.seen]

    @property
    def numbered(self) -> list[Heard]:
        """The events that have an id."""
        return [one.event for one in self.seen if one.event.id is not None]

    @property
    def names(self) -> list[str]:
        """Names of the numbered events, runs of the same as one."""
        names: list[str] = []
        for one in self.numbered:
            if not names or names[-1] != one.event:
                names.append(one.event)
        return names

    @property
    def text(self) -> str:
        """What it shows: the token text since the last reset."""
        return text_of(self.numbered)

    @property
    def resets(self) -> list[Seen]:
        """Every time that it was told to forget what it showed."""
        return [one for one in self.seen if one.event.event == "reset"]

    @property
    def end(self) -> Seen | None:
        """The terminal event."""
        if self.seen and self.seen[-1].event.event in TERMINAL:
            return self.seen[-1]
        return None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self.end is not None or self.answered_204

    @property
    def cursor(self) -> Cursor | None:
        """The last id."""
        numbered = self.numbered
        return numbered[-1].cursor if numbered else None

    # What it does.

    def start(self) -> "Reader":
        """Follow in a task."""
        self._task = asyncio.create_task(self.follow(), name=f"{self.name} {self.generation_id}")
        return self

    async def finished(self, within: float) -> "Reader":
        """Return once it has seen the end; Stopped, or TimeoutError."""
        assert self._task is not None
        _, late = await asyncio.wait({self._task}, timeout=within)
        if late:
            raise TimeoutError(f"not ended within {within} s: {self.tale()}")
        self._task.result()
        return self

    async def leave(self) -> None:
        """Go away for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def drop(self) -> bool:
        """Lose the connection at once, as when a network changes; whether there was one."""
        connection = None if self._response is None else self._response.connection
        transport = None if connection is None else connection.transport
        if transport is None:
            return False
        transport.abort()
        return True

    async def until(self, condition: Callable[["Reader"], bool], within: float = 10.0) -> "Reader":
        """Return once the condition holds; looked at after each thing that is heard."""
        try:
            async with asyncio.timeout(within):
                while not condition(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"not so within {within} s: {self.tale()}") from None
        return self

    async def wrote(self, characters: int = 1, within: float = 10.0) -> "Reader":
        """Return once it shows so much text."""
        return await self.until(lambda one: len(one.text) >= characters, within)

    async def follow(self) -> None:
        """Read to the end, as often as it takes; raises Stopped."""
        while not self.over:
            self.connections += 1
            try:
                how = await self._connection()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                how = f"{type(error).__name__}: {error}"
            finally:
                self._response = None
            if self.over:
                return
            self.troubles.append(Trouble(time.monotonic(), self.connections, how))
            self._news.set()
            await asyncio.sleep(self._retry_ms / 1000 * random.uniform(0.2, 1.0))

    async def _connection(self) -> str:
        url = f"{self.where()}/v1/generations/{self.generation_id}/events"
        headers = {"Accept": "text/event-stream"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._session.get(url, headers=headers, timeout=timeout) as response:
            if response.status == 204:
                self.answered_204 = True
                self._news.set()
                return "204"
            if response.status != 200:
                raise Stopped(f"{response.status} {(await response.text())[:300]}: {self.tale()}")
            self._response = response
            rest = b""
            async for chunk in response.content.iter_any():
                *blocks, rest = (rest + chunk).split(b"\n\n")
                self._take(blocks)
                if self.end is not None:
                    return "end"
            return "a clean end"

    def _take(self, blocks: Iterable[bytes]) -> None:
        now = time.monotonic()
        for block in blocks:
            if block.startswith(b"retry: "):
                self._retry_ms = int(block.removeprefix(b"retry: "))
                self.retries.append(self._retry_ms)
                continue
            for event in heard([block + b"\n\n"]):
                self.last_id = event.id or self.last_id
                self.seen.append(Seen(now, self.connections, event))
        self._news.set()

    def tale(self, events: int = 12) -> str:
        """What became of it, for a failure's report."""
        shown = [
            f"  c{one.connection} {one.event.id or '-':>12} {one.event.event}"
            f" {one.event.raw.split(b'data: ', 1)[-1][:90]!r}"
            for one in self.seen[-events:]
        ]
        troubles = [f"  c{one.connection} {one.how}" for one in self.troubles[-6:]]
        head = (
            f"{self.name} of {self.generation_id}: {self.connections} connections,"
            f" {len(self.seen)} events, cursor {self.last_id or 'none'}"
        )
        return "\n".join([head, *shown, *(["troubles:", *troubles] if troubles else [])])


def one_connection_a_request() -> aiohttp.ClientSession:
    """A session without limits that keeps no connection."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector)
