"""What SQL keeps so that a generation's events can be rebuilt with the same ids (protocol §1).

One entry an event of the final attempt, in order, the terminal event apart (it follows from the
row): a positive number is a token batch's length in code points, a negative one a run of that many
`file_delta` events, which are previews and not kept, a pair is another event's name and data.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from jobs.cursor import Cursor
from jobs.events import Event, frame, token_frame

Entry = int | tuple[Event, msgspec.Raw]


class Timeline:
    """The entries of a running attempt: append-only, and iterable.

    A model's every token may be an event, so a batch is one byte, its length; a 0 stands for the
    next of the other entries: events, runs of previews, and batches that no byte can count.
    """

    __slots__ = ("_lengths", "_others")

    def __init__(self) -> None:
        self._lengths = bytearray()
        self._others: list[Entry] = []

    def add_token_batch(self, characters: int) -> None:
        """Notes a published token batch of so many code points; raises ValueError for none."""
        if 0 < characters < 256:
            self._lengths.append(characters)
        elif characters > 0:
            self._add_other(characters)
        else:
            raise ValueError("a token batch has text")

    def add_event(self, event: Event, data: bytes) -> None:
        """Notes another event with its encoded data; previews are counted, not kept."""
        if event != "file_delta":
            self._add_other((event, msgspec.Raw(data)))
        elif (previews := self._previews_at_end()) > 0:
            self._others[-1] = -previews - 1
        else:
            self._add_other(-1)

    def __iter__(self) -> Iterator[Entry]:
        first, *rest = self._lengths.split(b"\0")
        with_others = zip(self._others, rest, strict=True)
        parts = (chain((other,), lengths) for other, lengths in with_others)
        return chain(first, chain.from_iterable(parts))

    def _add_other(self, entry: Entry) -> None:
        self._others.append(entry)
        self._lengths.append(0)

    def _previews_at_end(self) -> int:
        if not self._lengths or self._lengths[-1] > 0:
            return 0
        last = self._others[-1]
        return max(0, -last) if isinstance(last, int) else 0


def pack(entries: Iterable[Entry]) -> bytes:
    """The timeline as it is stored."""
    return zlib.compress(msgspec.json.encode(list(entries)))


def unpack(stored: bytes) -> list[Entry]:
    """The timeline as it was packed."""
    return msgspec.json.decode(zlib.decompress(stored), type=list[Entry])


def rebuild(
    attempt: int, text: str, entries: Iterable[Entry], after: int = 0
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
