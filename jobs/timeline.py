"""What SQL keeps so that a generation's events can be rebuilt with the same ids (protocol §1).

One entry an event of the final attempt, in order, the terminal event apart (it follows from the
row): a positive number is a token batch's length in code points, a negative one a run of that many
`file_delta` events, which are previews and not kept, a pair is another event's name and data.
"""

import zlib
from collections.abc import Iterator, Sequence

import msgspec

from jobs.cursor import Cursor
from jobs.events import Event, frame, token_frame

Entry = int | tuple[Event, msgspec.Raw]


def add_token_batch(entries: list[Entry], characters: int) -> None:
    """Notes a published token batch of this length."""
    entries.append(characters)


def add_event(entries: list[Entry], event: Event, data: bytes) -> None:
    """Notes another event with its encoded data; previews are counted, not kept."""
    if event != "file_delta":
        entries.append((event, msgspec.Raw(data)))
    elif entries and isinstance(entries[-1], int) and entries[-1] < 0:
        entries[-1] -= 1
    else:
        entries.append(-1)


def pack(entries: Sequence[Entry]) -> bytes:
    """The timeline as it is stored."""
    return zlib.compress(msgspec.json.encode(entries))


def unpack(stored: bytes) -> list[Entry]:
    """The timeline as it was packed."""
    return msgspec.json.decode(zlib.decompress(stored), type=list[Entry])


def rebuild(
    attempt: int, text: str, entries: Sequence[Entry], after: int = 0
) -> Iterator[tuple[Cursor, bytes]]:
    """Every event after the seq `after`, with its id and its frame.

    A preview that was not kept has an empty frame.
    """
    seq = offset = 0
    for entry in entries:
        if isinstance(entry, tuple):
            seq += 1
            if seq > after:
                cursor = Cursor(attempt, seq, offset)
                yield cursor, frame(cursor, entry[0], bytes(entry[1]))
        elif entry > 0:
            seq += 1
            start, offset = offset, offset + entry
            if seq > after:
                cursor = Cursor(attempt, seq, offset)
                yield cursor, token_frame(cursor, text[start:offset])
        else:
            first, seq = seq + 1, seq - entry
            for preview in range(max(first, after + 1), seq + 1):
                yield Cursor(attempt, preview, offset), b""
