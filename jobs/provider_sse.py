"""Splits the bytes of an SSE body into events, wherever the network has cut them.

The grammar is the HTML standard's: LF, CRLF and CR end lines, a leading BOM and comments are
skipped, several `data` lines are one event, an event that its blank line does not end is dropped.
"""

from collections.abc import Iterator

MAX_EVENT_BYTES = 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """A line, or the data of one event, is longer than 1 MiB."""


class EventSplitter:
    """Events of one body: `feed` it piece by piece, in order."""

    __slots__ = ("_after_cr", "_at_start", "_data", "_held", "_held_size", "_name", "_size")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_size = 0
        self._after_cr = False
        self._at_start = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The events that this piece completes, as (name, data); the name is mostly empty.

        Raises EventTooLong after those that came before.
        """
        # Nearly all that a model sends are events of one line of data: they are split at once.
        begin = 0
        if self._held or self._data or self._name:
            begin = piece.find(b"\n\n") + 2
            if begin < 2:
                begin = len(piece)
            yield from self._each_line(piece[:begin])
        end = piece.rfind(b"\n\n", begin)
        if end >= 0 and (values := self._one_line_events(piece[begin:end])) is not None:
            for value in values:
                yield b"", value
            begin = end + 2
        if begin < len(piece):
            yield from self._each_line(piece[begin:])

    def _one_line_events(self, lines: bytes) -> list[bytes] | None:
        """Their data, if all of it is events of one `data: ` line each, between two blank ones."""
        if (
            self._held
            or self._data
            or self._name
            or not lines.startswith(b"data: ")
            or len(lines) > MAX_EVENT_BYTES
            or b"\r" in lines
        ):
            return None
        values = lines[6:].split(b"\n\ndata: ")
        if lines.count(b"\n") != 2 * len(values) - 2:
            return None
        self._after_cr = self._at_start = False
        return values

    def _each_line(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        for line in self._lines(piece):
            if line.startswith(b"data:"):
                value = line[6:] if line.startswith(b" ", 5) else line[5:]
                self._data.append(value)
                self._size += len(value)
                if self._size > MAX_EVENT_BYTES:
                    raise EventTooLong
            elif not line:
                if self._data:
                    data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                    yield self._name, data
                    self._data = []
                    self._size = 0
                self._name = b""
            elif line.startswith(b"event:"):
                self._name = line[7:] if line.startswith(b" ", 6) else line[6:]
        if self._held_size > MAX_EVENT_BYTES:
            raise EventTooLong

    def _lines(self, piece: bytes) -> list[bytes]:
        if self._after_cr and piece:
            self._after_cr = False
            # The CR has ended the line already: this LF belongs to it.
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        rest = lines.pop()
        if lines and self._held:
            lines[0] = b"".join([*self._held, lines[0]])
            self._held.clear()
            self._held_size = 0
        if rest:
            # Kept in parts: joining at every piece would cost the square of a long line.
            self._held.append(rest)
            self._held_size += len(rest)
        if lines and self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        return lines
