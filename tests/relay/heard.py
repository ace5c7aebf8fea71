"""What a reader heard, taken from the bytes on the wire, and what it should have heard."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.cursor import Cursor, parse_cursor

_EVENT = re.compile(rb"event: ([a-z_]+)\ndata: ([^\n]*)\n(?:id: ([^\n]+)\n)?\n")
_RETRY = re.compile(rb"retry: ([0-9]+)\n\n")


@dataclass(frozen=True, slots=True)
class Heard:
    """One event as it came: its id if it has one, its name, its bytes."""

    id: str | None
    event: str
    raw: bytes
    text: str = ""
    """Of a `token`."""

    @property
    def cursor(self) -> Cursor:
        """Its id, parsed; only for an event that has one."""
        found = parse_cursor(self.id or "")
        assert found is not None, self
        return found

    @property
    def data(self) -> dict[str, Any]:
        """Its JSON document."""
        document: dict[str, Any] = json.loads(self.raw.split(b"\n")[1].removeprefix(b"data: "))
        return document


def heard(chunks: Iterable[bytes]) -> list[Heard]:
    """The events in these chunks; each chunk must hold whole ones with LF line ends."""
    return [event for chunk in chunks for event in _in_chunk(chunk)]


def retries(chunks: Iterable[bytes]) -> list[int]:
    """Every `retry:` in these chunks, in ms."""
    return [int(ms) for chunk in chunks for ms in _RETRY.findall(chunk)]


def _in_chunk(chunk: bytes) -> list[Heard]:
    assert b"\r" not in chunk
    events: list[Heard] = []
    at = 0
    while at < len(chunk):
        if match := _RETRY.match(chunk, at):
            at = match.end()
            continue
        match = _EVENT.match(chunk, at)
        assert match is not None, f"no whole event: {chunk[at : at + 200]!r}"
        event, data, given = match.groups()
        document = json.loads(data)
        text: str = document["text"] if event == b"token" else ""
        id_ = None if given is None else given.decode()
        events.append(Heard(id_, event.decode(), match.group(), text))
        at = match.end()
    return events


def numbered(events: Iterable[Heard]) -> list[Heard]:
    """Those that have an id: what a reader is shown of the generation."""
    return [one for one in events if one.id is not None]


def text_of(events: Iterable[Heard]) -> str:
    """The token text since the last reset."""
    text = ""
    for one in events:
        text = "" if one.event == "reset" else text + one.text
    return text


def assert_is_the_rest(
    told: Sequence[Heard],
    whole: Sequence[Heard],
    after: Cursor | None = None,
    *,
    previews_kept: bool = True,
) -> None:
    """What was told is exactly what of the whole attempt follows the cursor, by content.

    Runs of `token` may be merged under the id of their last, never across another event; all else
    is there with the same bytes, `file_delta` excepted where `previews_kept` is false.
    """
    seq = after.seq if after is not None else 0
    rest = [one for one in whole if one.cursor.seq > seq]
    if not previews_kept:
        kept = {one.id for one in told}
        assert kept <= {one.id for one in rest}, kept - {one.id for one in rest}
        rest = [one for one in rest if one.event != "file_delta" or one.id in kept]
        for one in told:
            if one.event == "token":
                _assert_crosses_nothing(one, whole)
    assert _merged(told) == _merged(rest)


def _assert_crosses_nothing(token: Heard, whole: Sequence[Heard]) -> None:
    start = token.cursor.offset - len(token.text)
    seqs = [
        one.cursor.seq
        for one in whole
        if one.event == "token" and start < one.cursor.offset <= token.cursor.offset
    ]
    assert seqs == list(range(seqs[0], seqs[-1] + 1)), f"{token} was merged across an event"


def _merged(events: Iterable[Heard]) -> list[tuple[str | None, object]]:
    merged: list[tuple[str | None, object]] = []
    run = ""
    for one in events:
        if one.event == "token":
            if run:
                merged.pop()
            run += one.text
            merged.append((one.id, run))
        else:
            run = ""
            merged.append((one.id, one.raw))
    return merged
