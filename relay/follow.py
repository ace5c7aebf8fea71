"""Follows one generation: what is past, then live, and its deadlines. No HTTP in it.

The order is: subscribe and await the acknowledgement, read the row, read the log, go live. What
pub/sub lost is repaired from the log: at a seq that jumps, at a new acknowledgement, at an
overflow, and whenever the row says more than was heard.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from jobs.cursor import Cursor, parse_cursor
from jobs.errors import Unavailable
from jobs.events import Heartbeat, Idle, unnumbered_frame
from jobs.generation import State
from jobs.store.reads import StreamRow
from jobs.store.standings import Standing
from jobs.stream_log import Message
from relay.past import RETRY_SECONDS, Past, end_of
from relay.sources import Sources

INBOX_BYTES = 1 << 18
"""What waits for a slow reader; beyond, it reads the log again at its own pace."""
HEARTBEAT_STEP = 1 / 10
"""Heartbeats come at whole steps, in parts of `RELAY_HEARTBEAT_SECONDS`."""
MALFORMED = Cursor(-1, 0, 0)
"""Stands for a cursor that no generation ever gave."""


def read_cursor(text: str | None) -> Cursor | None:
    """The cursor a reader gave: None without one, MALFORMED for one that can't be right."""
    return None if not text else parse_cursor(text) or MALFORMED


class Follower:
    """One reader of one generation. `close()` it, whether or not it was ever iterated.

    `events()` gives chunks of whole SSE events and ends after the terminal event or `idle`; a
    first chunk is empty when nothing is past. It raises Unavailable when the database can't tell
    what to send. `ended` is the generation's row if that says that it has ended: then nothing has
    to be joined. Past tokens come merged unless told not to.
    """

    __slots__ = (
        "_closed",
        "_cursor",
        "_failure",
        "_heard_at",
        "_heartbeat",
        "_idle",
        "_inbox",
        "_inbox_bytes",
        "_known",
        "_listens",
        "_past",
        "_repair",
        "_row",
        "_sent_at",
        "_sources",
        "_waiter",
        "_write",
        "generation_id",
    )

    def __init__(
        self,
        sources: Sources,
        generation_id: str,
        cursor: Cursor | None = None,
        known: StreamRow | None = None,
        *,
        merged: bool = True,
    ) -> None:
        self.generation_id = generation_id
        self._sources = sources
        self._cursor = cursor
        self._known = known
        self._past = Past(sources, generation_id, cursor, known, merged=merged)
        self._inbox: list[Message] = []
        self._inbox_bytes = 0
        # The row that is read after the log showed that it runs.
        self._row: asyncio.Task[StreamRow] | None = None
        # What that row said instead: with it the stream is over.
        self._failure: BaseException | None = None
        # `events` has given all it had and waits for more; an asyncio.Event would hold 0.8 KiB.
        self._waiter: asyncio.Future[None] | None = None
        self._listens = False
        self._write: Callable[[bytes], bool] | None = None
        # Whether the row and the log are to be read: something may have been missed.
        self._repair = True
        self._idle = self._closed = False
        self._heartbeat: bytes | None = None
        self._heard_at = self._sent_at = time.monotonic()
        sources.pulse.add(self)

    @property
    def has_seen_the_end(self) -> bool:
        """Whether its cursor is the terminal event: there is nothing to send, and never will be."""
        return self.has_ended and self._known is not None and self._cursor == end_of(self._known)

    @property
    def has_ended(self) -> bool:
        """Whether the generation is known to have ended, so that nothing is to be joined."""
        return self._known is not None and self._known.state.terminal

    @property
    def waits(self) -> bool:
        """Whether it waits for its worker to seed a lost log anew, or to judge its cursor."""
        return self._past.waits

    def listen(self) -> None:
        """Begins to subscribe, so that `join` has less to wait for; not once it is closed."""
        if not self._closed:
            self._sources.hub.listen(self.generation_id, self)

    def read_ahead(self) -> None:
        """Begins to subscribe and to read the log, while its row is still being read.

        Tell it the row by `know` before anything is asked of it, or let it `presume` that.
        """
        joined = self._sources.hub.listen(self.generation_id, self)
        self._past.read_ahead(joined, self.join)

    def know(self, row: StreamRow) -> None:
        """Takes where the generation stands, from a row that was read just now."""
        self._known = row
        self._past.know(row)

    async def presume(self, owner: str) -> bool:
        """Whether the log shows that it runs: its row is not waited for then, and may `follow_up`.

        Only for who is known to be its `owner`.
        """
        return await self._past.presume(owner)

    def follow_up(self, row: "asyncio.Task[StreamRow]") -> None:
        """Takes the row when it comes, after `presume`.

        Its error ends `events`, which raises it; unless the database is away: then the row is read
        again a little later, while the log goes on.
        """
        self._row = row
        row.add_done_callback(self._take_row)

    def _take_row(self, row: "asyncio.Task[StreamRow]") -> None:
        self._row = None
        if row.cancelled():
            return
        error = row.exception()
        if self._closed:
            return
        if isinstance(error, Unavailable):
            self._past.again_at = time.monotonic() + RETRY_SECONDS
            self._sources.pulse.moved(self)
            return
        if error is not None:
            self._failure = error
        elif self._past.learn(row.result()):
            self._repair = True
        else:
            return
        self._rouse()

    async def join(self) -> bool:
        """Subscribes; whether Redis acknowledged it. To be awaited before anything is read."""
        return await self._sources.hub.follow(self.generation_id, self)

    def close(self) -> None:
        """Lets go of the subscription and the pulse; again does nothing."""
        self._sources.hub.leave(self, generation_id=self.generation_id)
        self._sources.pulse.discard(self)
        self._inbox.clear()
        self._past.close()
        self._closed = True
        if self._row is not None:
            self._row.cancel()

    def begin_queued(self) -> None:
        """Takes for known that the generation was just stored: nothing is past, all will be live.

        Only right when the subscription was acknowledged before the generation was enqueued.
        """
        self._repair = False

    def write_through(self, write: Callable[[bytes], bool]) -> None:
        """Lets live events pass `events` by, by a call that returns False where it can't be now.

        Only what follows all that `events` gave goes this way, and never the end of the stream.
        """
        self._write = write

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Chunks of whole events, until the end of the generation or of patience."""
        past = self._past
        began = False
        if not self._repair:
            began = True
            yield self._sent(past.queued())
        while not past.over:
            self._refuse_failed()
            if not (self._inbox or self._repair or self._idle or self._heartbeat):
                self._waiter = asyncio.get_running_loop().create_future()
                self._listens = True
                try:
                    await self._waiter
                finally:
                    self._listens, self._waiter = False, None
                self._refuse_failed()
            # What came since the log is read, or was read ahead, follows that.
            if self._inbox and not self._repair and (chunk := self._drain()):
                began = True
                yield self._sent(chunk)
            if self._repair:
                self._repair = False
                past.look_again()
                while chunk := await past.next():
                    self._refuse_failed()
                    began = True
                    yield self._sent(chunk)
                if past.again_at is not None:
                    self._sources.pulse.moved(self)
            if past.over:
                return
            if self._inbox or self._repair:
                # It came while a slow reader took what was before: not silence.
                continue
            if not began:
                began = True
                yield b""
            if self._idle:
                silent = round(time.monotonic() - self._heard_at, 1)
                yield unnumbered_frame("idle", Idle(past.state, silent))
                return
            if heartbeat := self._heartbeat:
                self._heartbeat = None
                yield heartbeat

    def _refuse_failed(self) -> None:
        if self._failure is not None:
            raise self._failure

    # What others call; none of it may wait.

    def on_message(self, message: Message) -> None:
        """Takes what was just published (Listener)."""
        if self._listens and self._passes(message):
            return
        if message.attempt == 0:
            self._past.doubt_row()
            self._missed()
        else:
            self._inbox.append(message)
            self._inbox_bytes += len(message.frames)
            if self._inbox_bytes > INBOX_BYTES:
                self._inbox.clear()
                self._inbox_bytes = 0
                self._missed()
        self._rouse()

    def _passes(self, message: Message) -> bool:
        """Whether it went out at once; all the rest is for `events`, which comes to no harm."""
        past = self._past
        if (
            self._write is None
            or message.terminal
            or past.waits
            or message.attempt != past.attempt
            or message.first != past.seq + 1
            or message.last < message.first
            # Previews that were lost are published as nothing, and an empty chunk ends a body.
            or not message.frames
            or not self._write(message.frames)
        ):
            return False
        past.seq, past.state = message.last, State.RUNNING
        self._sent_at = self._heard_at = time.monotonic()
        return True

    def _rouse(self) -> None:
        # From now on it has something to give, before which nothing may go out.
        self._listens = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def on_subscribed(self) -> None:
        """Hears that messages may be missing up to now (Listener)."""
        self._missed()
        self._rouse()

    def _missed(self) -> None:
        self._repair = True
        self._past.miss()

    def due_at(self) -> float:
        """The earliest of its deadlines; an event in between makes it later (Ticking)."""
        due = min(
            self._heartbeat_at(),
            self._heard_at + self._sources.idle_timeout_seconds,
        )
        again_at = self._past.again_at
        return due if again_at is None else min(due, again_at)

    def tick(self, now: float) -> "Follower | None":
        """Compares its deadlines with the time; itself when a heartbeat is due (Ticking)."""
        if now - self._heard_at >= self._sources.idle_timeout_seconds:
            self._idle = True
            self._rouse()
        again_at = self._past.again_at
        if again_at is not None and now >= again_at:
            self._past.again_at = None
            self._repair = True
            self._rouse()
        return self if now >= self._heartbeat_at() else None

    def _heartbeat_at(self) -> float:
        """When one is due: a little early, in step with others, who then share a statement."""
        every = self._sources.heartbeat_seconds
        at = self._sent_at + every
        return at - at % (every * HEARTBEAT_STEP)

    def heartbeat(self, found: Standing | None) -> None:
        """Says who is working on it, and finds what was not announced (Beating)."""
        past = self._past
        if found is not None and found.attempt >= past.attempt:
            past.state, past.worker = found.state, found.worker
            if found.state.terminal or found.attempt > past.attempt:
                self._repair = True
        now = time.monotonic()
        # An event may have gone out while the row was read: then it is not silent any more.
        if now >= self._heartbeat_at():
            self._sent_at = now
            beat = Heartbeat(
                past.state, past.attempt, past.seq, past.worker, round(now - self._heard_at, 1)
            )
            self._heartbeat = unnumbered_frame("heartbeat", beat)
        if self._listens and not self._repair and self._heartbeat_passes():
            return
        self._rouse()

    def _heartbeat_passes(self) -> bool:
        """Whether there is none to send, or it went out past `events`, which has nothing to say."""
        if self._heartbeat is not None and (
            self._write is None or not self._write(self._heartbeat)
        ):
            return False
        self._heartbeat = None
        return not (self._idle or self._inbox)

    def _sent(self, chunk: bytes) -> bytes:
        self._sent_at = self._heard_at = time.monotonic()
        # Whatever a deadline said while this was on its way: it was not silent.
        self._idle = False
        self._heartbeat = None
        return chunk

    def _drain(self) -> bytes:
        """The live frames that follow what was sent; anything else asks for a repair."""
        inbox, self._inbox, self._inbox_bytes = self._inbox, [], 0
        past = self._past
        chunks: list[bytes] = []
        for message in inbox:
            if message.attempt < past.attempt:
                # A worker that lost its generation still writes; the row named a newer attempt.
                continue
            same = message.attempt == past.attempt
            if past.waits:
                past.hear(message)
                self._repair = True
            elif same and message.last <= past.seq:
                continue
            elif self._repair or message.first != (past.seq + 1 if same else 1):
                self._repair = True
            elif message.last >= message.first:
                chunks.append(message.frames)
                past.attempt, past.seq = message.attempt, message.last
                past.state = State.RUNNING
                past.over = message.terminal
                if past.over:
                    break
        return b"".join(chunks)
