"""The generation's event log in Redis: fenced appends, exact reads, messages to live readers.

A stream a generation; entry ids are `<attempt>-<seq>`, set by the writer. A log is dense: what
would leave a hole is refused, or found as it is written and dropped, and the writer seeds it anew
from what it holds. The log may vanish at any moment; SQL is the truth.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from importlib.resources import files
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from jobs import keys
from jobs.cursor import Cursor
from jobs.redis_wire import Address

Execute = Callable[..., Awaitable[Any]]
"""Sends one command and gives its reply; raises REDIS_FAILURES."""

PAGE = 2000
FRAMES_A_MESSAGE = 500
"""Entries read at a time, so that a long log costs bounded memory."""


class Outcome(IntEnum):
    """What became of an append."""

    APPLIED = 1
    ALREADY_THERE = 0
    STALE = -1
    GAP = -2


class Append(msgspec.Struct, frozen=True, gc=False):
    """What one writer wants appended: frames of one attempt, dense from `first`.

    No frames: only look where the log's tail is. `announce` publishes even then. `ttl_ms` is the
    log's time to live from now on; 0 leaves it as it is.
    """

    generation_id: str
    attempt: int
    first: int
    frames: Sequence[bytes]
    ttl_ms: int
    terminal: bool = False
    announce: bool = False


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What became of it, and where the log's tail is now; attempt 0 when there is no log."""

    outcome: Outcome
    attempt: int
    seq: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """What a live reader is sent: frames `first` to `last` of an attempt, as one piece of bytes.

    An empty one (`last < first`) tells where the tail is; attempt 0 asks to look at the row.
    """

    attempt: int
    first: int
    last: int
    terminal: bool
    frames: bytes


LOOK = b"0 1 0 0\n"
"""The message that asks live readers to read the row again: something was committed."""


def parse_message(payload: bytes) -> Message:
    """The message that was published."""
    head, _, frames = payload.partition(b"\n")
    attempt, first, last, terminal = head.split(b" ")
    return Message(int(attempt), int(first), int(last), terminal == b"1", frames)


class LogPage(msgspec.Struct, frozen=True):
    """Consecutive entries of one attempt, dense from `first`; an empty frame was not kept."""

    attempt: int
    first: int
    frames: list[bytes]

    @property
    def last(self) -> int:
        """The seq of the last entry; `first - 1` when there is none."""
        return self.first + len(self.frames) - 1


class StreamLog:
    """Reads and appends; raises what the Redis client raises."""

    def __init__(
        self, redis: Redis, fetch: Execute | None = None, call: Execute | None = None
    ) -> None:
        """`fetch` reads pages of the log, `call` does all else; the client where none is given."""
        self._redis = redis
        self._fetch = fetch or _plain(redis).execute_command
        self._call: Execute = call or redis.execute_command

    @property
    def address(self) -> Address:
        """Where the server is that has it."""
        return Address.of_client(self._redis)

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Appends and publishes for many generations in one call; an answer for each, in order."""
        return read_answers(await self._run(APPEND, append_arguments(appends)))

    async def take_over(
        self,
        generation_id: str,
        read_up_to: tuple[int, int],
        attempt: int,
        frames: Sequence[bytes],
        ttl_ms: int,
    ) -> bool:
        """Puts all these frames of a newer attempt in the place of the log, and publishes them.

        False, with nothing done, where the log's tail is not the one that it was read up to.
        """
        read = f"{read_up_to[0]}-{read_up_to[1]}"
        found: bytes = await self._run(
            TAKE_OVER,
            [
                1, keys.log(generation_id),
                keys.live(generation_id), read, attempt, ttl_ms, FRAMES_A_MESSAGE, *frames,
            ],
        )  # fmt: skip
        return found.decode() == read

    async def whole(self, lengths: Mapping[str, int]) -> set[str]:
        """Which of these generations have a log of so many entries."""
        named = list(lengths)
        logs = [keys.log(one) for one in named]
        others = await self._run(LENGTHS, [len(logs), *logs, *lengths.values()])
        return set(named) - {named[number - 1] for number in others}

    async def _run(self, script: "Script", arguments: Sequence[bytes | str | int]) -> Any:
        try:
            return await self._call("EVALSHA", script.digest, *arguments)
        except NoScriptError:
            return await self._call("EVAL", script.text, *arguments)

    async def tail(self, generation_id: str) -> tuple[int, int]:
        """Attempt and seq of the newest entry; (0, 0) when there is no log."""
        log = keys.log(generation_id)
        entries = await self._call("XREVRANGE", log, "+", "-", "COUNT", 1)
        return _entry_id(entries[0][0]) if entries else (0, 0)

    async def read(self, generation_id: str, attempt: int, first: int) -> LogPage | None:
        """Up to PAGE entries of this attempt from `first` on; empty when it has none yet.

        None when they can't be served: the log holds another attempt or lacks an earlier entry.
        """
        entries: list[tuple[bytes, list[bytes]]] = await self._fetch(
            "XRANGE", keys.log(generation_id), f"{attempt}-{first}", attempt, "COUNT", PAGE
        )
        frames = [fields[1] for _, fields in entries]
        # Ids only rise: with the first and the last in place, so is each between them.
        if frames and (
            _entry_id(entries[0][0]) != (attempt, first)
            or _entry_id(entries[-1][0]) != (attempt, first + len(frames) - 1)
        ):
            return None
        if not frames and first > 1:
            tail_attempt, tail_seq = await self.tail(generation_id)
            if tail_attempt != attempt or tail_seq < first - 1:
                return None
        return LogPage(attempt, first, frames)

    async def read_newest(
        self, generation_id: str, after: Cursor | None, count: int = PAGE
    ) -> LogPage | None:
        """Up to `count` entries of whatever attempt the log holds; None where it has none in order.

        They begin with the one of the cursor `after`, or with the first where that is none of them.
        """
        begin = "-" if after is None or after.attempt < 0 else f"{after.attempt}-{after.seq}"
        entries: list[tuple[bytes, list[bytes]]] = await self._fetch(
            "XRANGE", keys.log(generation_id), begin, "+", "COUNT", count
        )
        if not entries:
            return None
        attempt, first = _entry_id(entries[0][0])
        page = LogPage(attempt, first, [fields[1] for _, fields in entries])
        # Ids only rise, as in `read`.
        return page if _entry_id(entries[-1][0]) == (attempt, page.last) else None

    async def look(self, generation_id: str) -> None:
        """Asks every live reader of it to read the row again."""
        await self._call("PUBLISH", keys.live(generation_id), LOOK)


class Script(msgspec.Struct, frozen=True):
    """A script of Redis, and the digest by which it is known there."""

    text: str
    digest: str

    @classmethod
    def of(cls, name: str) -> "Script":
        """The one in this file of this package."""
        text = (files("jobs") / name).read_text()
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


APPEND = Script.of("append.lua")
"""Appends under every condition, and says of each log what became of it."""
TAKE_OVER = Script.of("take_over.lua")
"""Puts a newer attempt's log in the place of the one that was read, if nothing was added since."""
ADVANCE = Script.of("advance.lua")
"""Appends one frame to running logs, and says which it left as they were."""
LENGTHS = Script.of("lengths.lua")
"""Says which logs have not as many entries as they should."""


def append_arguments(appends: Sequence[Append]) -> list[bytes | str | int]:
    """What the append script is called with, its number of keys first."""
    arguments: list[bytes | str | int] = [len(appends)]
    arguments += [keys.log(one.generation_id) for one in appends]
    for one in appends:
        arguments += (
            keys.live(one.generation_id), one.attempt, one.first, one.ttl_ms,
            int(one.terminal), int(one.announce), len(one.frames), *one.frames,
        )  # fmt: skip
    return arguments


def read_answers(replies: list[tuple[int, int, int]]) -> list[Appended]:
    """What the append script replied, in the order of the appends."""
    return [Appended(Outcome(outcome), attempt, seq) for outcome, attempt, seq in replies]


def _plain(redis: Redis) -> Redis:
    """The same connections, without making a dictionary of every entry of a long log."""
    plain = Redis(connection_pool=redis.connection_pool)
    plain.set_response_callback("XRANGE", _as_it_came)
    return plain


def _as_it_came(response: Any, **_: Any) -> Any:
    return response


def _entry_id(raw: bytes) -> tuple[int, int]:
    attempt, _, seq = raw.partition(b"-")
    return int(attempt), int(seq)
