"""The events of a generation and their exact bytes on the wire (protocol §5).

A frame is one SSE event: LF line ends, `event`, one `data` line, `id`. The log stores frames and
the relay forwards them, so an event is encoded once, here. The id comes last, since some readers
take an event for seen as soon as they have read its id; frames of 0.1.0 have it first.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from jobs.cursor import Cursor
from jobs.generation import FileChange, Generation, SkillChoice, State, encode

ResetReason = Literal["worker_lost", "handed_over", "unknown_cursor", "log_lost"]
Event = Literal[
    "status", "token", "file_delta", "file", "skill", "notice", "reset",
    "completed", "failed", "cancelled", "expired",
]  # fmt: skip

_EVENT = b"event: "
_TOKEN_EVENT = b"event: token\ndata: "
_TOKEN_OPENS = _TOKEN_EVENT + b'{"text":"'
_TOKEN_CLOSES = b'"}\n'
_LONGEST_HEAD = 80
_BETWEEN_TOKENS = re.compile(rb'"\}\nid: [0-9.]+\n\n' + re.escape(_TOKEN_OPENS))
"""From the text of one `token` frame to that of the next; no data has a line end in it."""


class Status(msgspec.Struct, frozen=True):
    """`status`: the generation's state and attempt."""

    state: State
    attempt: int


class Token(msgspec.Struct, frozen=True):
    """`token`: one or more tokens of the model's text."""

    text: str


class FileDelta(msgspec.Struct, frozen=True):
    """`file_delta`: a piece of a file while it is written; `at` in code points, 0 begins anew."""

    path: str
    at: int
    text: str


class Notice(msgspec.Struct, frozen=True):
    """`notice`: something a reader should know, e.g. an invalid file that was left out."""

    code: str
    message: str


class Reset(msgspec.Struct, frozen=True):
    """`reset`: forget what was shown, it comes again."""

    reason: ResetReason
    attempt: int


class Ended(msgspec.Struct, frozen=True):
    """The data of a terminal event."""

    generation: Generation


class Heartbeat(msgspec.Struct, frozen=True):
    """`heartbeat`: nothing came for a while, and who is (not) working on it."""

    state: State
    attempt: int
    seq: int
    worker: Literal["alive", "lost", "none"]
    silent_seconds: float


class Idle(msgspec.Struct, frozen=True):
    """`idle`: nothing came for the idle timeout; the stream ends, the reader may come back."""

    state: State
    silent_seconds: float


EventData = Status | FileDelta | FileChange | SkillChoice | Notice | Reset
LoggedData = EventData | Token | Ended
"""The data of an event that has an id; its type says which event it is."""

_READ: Mapping[bytes, Callable[[bytes], LoggedData]] = {
    name: msgspec.json.Decoder(kind).decode
    for kind, names in {
        Status: [b"status"],
        Token: [b"token"],
        FileDelta: [b"file_delta"],
        FileChange: [b"file"],
        SkillChoice: [b"skill"],
        Notice: [b"notice"],
        Reset: [b"reset"],
        Ended: [b"completed", b"failed", b"cancelled", b"expired"],
    }.items()
    for name in names
}


def frame(cursor: Cursor, event: Event, data: bytes) -> bytes:
    """One event's bytes: its name, JSON document on one line, and id."""
    return b"event: %s\ndata: %s\nid: %d.%d.%d\n\n" % (
        event.encode(), data, cursor.attempt, cursor.seq, cursor.offset,
    )  # fmt: skip


def token_frame(cursor: Cursor, text: str) -> bytes:
    """A `token` event; `cursor.offset` counts this text already."""
    return b'event: token\ndata: {"text":%s}\nid: %d.%d.%d\n\n' % (
        encode(text), cursor.attempt, cursor.seq, cursor.offset,
    )  # fmt: skip


def terminal_frame(cursor: Cursor, generation: Generation) -> bytes:
    """The event that ends every stream: named after the state, without `output.text`."""
    ended = Ended(generation.without_text())
    return frame(cursor, generation.state.value, encode(ended))  # type: ignore[arg-type]


def unnumbered_frame(event: Literal["heartbeat", "idle"], data: Heartbeat | Idle) -> bytes:
    """An event that is no part of the log, so has no id and moves no cursor."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), encode(data))


def retry_frame(milliseconds: int) -> bytes:
    """Tells an EventSource how long to wait before it comes back."""
    return b"retry: %d\n\n" % milliseconds


def frame_cursor(one: bytes) -> Cursor:
    """The id that this frame carries."""
    return _cursor(_fields(one)[b"id"])


def read_frame(one: bytes) -> tuple[Cursor, LoggedData]:
    """The id and the data of a frame that has an id."""
    fields = _fields(one)
    return _cursor(fields[b"id"]), _READ[fields[b"event"]](fields[b"data"])


def _fields(one: bytes) -> dict[bytes, bytes]:
    lines = one.removesuffix(b"\n\n").split(b"\n")
    return {name: value for name, _, value in (line.partition(b": ") for line in lines)}


def _cursor(written: bytes) -> Cursor:
    attempt, seq, offset = written.split(b".")
    return Cursor(int(attempt), int(seq), int(offset))


def event_name(one: bytes) -> bytes:
    """What this frame's event is called."""
    begin = one.index(_EVENT, 0, _LONGEST_HEAD) + len(_EVENT)
    return one[begin : one.index(b"\n", begin)]


def is_token(one: bytes) -> bool:
    """Whether this frame is a `token` event."""
    return one.find(_TOKEN_EVENT, 0, _LONGEST_HEAD) >= 0


def token_text(one: bytes) -> str:
    """The text of a `token` frame."""
    text: str = msgspec.json.decode(_fields(one)[b"data"], type=Token).text
    return text


def merge_tokens(frames: Iterable[bytes]) -> Iterable[bytes]:
    """The same events with each run of `token` events as one, under the id of its last.

    Only past events may be merged (protocol §5). JSON strings are joined without decoding them:
    every frame was encoded here, with no escape that spans two strings. An empty frame stands for
    an event that was not kept: it ends a run and gives nothing.
    """
    texts: list[bytes] = []
    last, begin, end = b"", 0, 0
    for one in frames:
        # No data has a line end in it, so this is found at the frame's own event line or nowhere.
        opens = one.find(_TOKEN_OPENS, 0, _LONGEST_HEAD)
        if opens >= 0:
            last, begin, end = one, opens + len(_TOKEN_OPENS), one.rindex(_TOKEN_CLOSES)
            texts.append(one[begin:end])
            continue
        if texts:
            yield _merged(last, begin, end, texts)
            texts = []
        if one:
            yield one
    if texts:
        yield _merged(last, begin, end, texts)


def join_merged(frames: Sequence[bytes]) -> bytes:
    """What `merge_tokens` gives, in one piece; older frames with their id first may stay apart.

    Where tokens follow each other to the end it takes one pass in C, not a step a frame.
    """
    before = 0
    while before < len(frames) and not is_token(frames[before]):
        before += 1
    tokens = b"".join(frames[before:])
    if tokens.count(_TOKEN_OPENS) != len(frames) - before:
        # The end of another event's data may look like that of a token's.
        return b"".join(merge_tokens(frames))
    return b"".join(frames[:before]) + _BETWEEN_TOKENS.sub(b"", tokens)


def _merged(last: bytes, begin: int, end: int, texts: list[bytes]) -> bytes:
    if len(texts) == 1:
        return last
    return b"".join([last[:begin], *texts, last[end:]])
