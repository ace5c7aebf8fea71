"""Read the strings of a JSON object while it streams in, cut anywhere, in one pass.

Where the whole text is an object that `json.loads(…, strict=False)` takes, the pieces of a key are
together its value. Broken text gives no error here: the pieces stop, and whoever parses the whole
says why.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from persona_apply.text import join_surrogates

_SPACE = re.compile(r"[ \t\n\r]+")
_RUN = re.compile(r'[^"\\]+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_SCALAR = re.compile(r'[^ \t\n\r,:"{}\[\]]+')
_UNQUOTED = re.compile(r'[^"{}\[\]]+')
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class StringPiece:
    """A piece of a top-level string value; surrogate pairs in it may be unjoined or cut."""

    key: str
    text: str
    ended: bool
    """Whether the value is complete with this piece."""


class _At(Enum):
    OBJECT = auto()
    FIRST_KEY = auto()
    NEXT_KEY = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    STRING = auto()
    SCALAR = auto()
    NESTED = auto()
    NESTED_STRING = auto()
    AFTER_VALUE = auto()
    END = auto()
    BROKEN = auto()


_TURNS = {
    (_At.OBJECT, "{"): _At.FIRST_KEY,
    (_At.FIRST_KEY, '"'): _At.KEY,
    (_At.FIRST_KEY, "}"): _At.END,
    (_At.NEXT_KEY, '"'): _At.KEY,
    (_At.COLON, ":"): _At.VALUE,
    (_At.VALUE, '"'): _At.STRING,
    (_At.VALUE, "{"): _At.NESTED,
    (_At.VALUE, "["): _At.NESTED,
    (_At.AFTER_VALUE, ","): _At.NEXT_KEY,
    (_At.AFTER_VALUE, "}"): _At.END,
}


class ObjectReader:
    """Takes the text of one JSON object in any cutting; work and memory are linear in it."""

    __slots__ = ("_at", "_depth", "_held", "_key", "_parts", "_seen")

    def __init__(self) -> None:
        self._at = _At.OBJECT
        self._held = ""
        self._key = ""
        self._parts: list[str] = []
        self._seen: set[str] = set()
        self._depth = 0

    @property
    def complete(self) -> bool:
        """Whether the object was closed, with nothing but white space after it."""
        return self._at is _At.END

    def feed(self, text: str) -> list[StringPiece]:
        """The pieces of top-level string values in this text, in order."""
        text, self._held = self._held + text, ""
        pieces: list[StringPiece] = []
        position = 0
        while position < len(text) and self._at is not _At.BROKEN:
            position = self._step(text, position, pieces)
        return pieces

    def _step(self, text: str, position: int, pieces: list[StringPiece]) -> int:
        match self._at:
            case _At.KEY:
                return self._read_key(text, position)
            case _At.STRING:
                return self._read_value(text, position, pieces)
            case _At.SCALAR:
                scalar = _SCALAR.match(text, position)
                if scalar is None:
                    self._at = _At.AFTER_VALUE
                return scalar.end() if scalar else position
            case _At.NESTED | _At.NESTED_STRING:
                return self._skip_nested(text, position)
            case _:
                return self._turn(text, position)

    def _turn(self, text: str, position: int) -> int:
        if space := _SPACE.match(text, position):
            return space.end()
        character = text[position]
        if turn := _TURNS.get((self._at, character)):
            self._at = turn
            self._depth = 1
            return position + 1
        if self._at is _At.VALUE and _SCALAR.match(text, position):
            self._at = _At.SCALAR
            return position
        self._at = _At.BROKEN
        return position

    def _read_key(self, text: str, position: int) -> int:
        part, position, ended = self._read_string(text, position)
        self._parts.append(part)
        if ended:
            self._key = join_surrogates("".join(self._parts))
            self._parts.clear()
            # A key given twice has no one value: the whole will be refused.
            self._at = _At.BROKEN if self._key in self._seen else _At.COLON
            self._seen.add(self._key)
        return position

    def _read_value(self, text: str, position: int, pieces: list[StringPiece]) -> int:
        part, position, ended = self._read_string(text, position)
        if part or ended:
            pieces.append(StringPiece(self._key, part, ended))
        if ended:
            self._at = _At.AFTER_VALUE
        return position

    def _skip_nested(self, text: str, position: int) -> int:
        if self._at is _At.NESTED_STRING:
            _, position, ended = self._read_string(text, position)
            if ended:
                self._at = _At.NESTED
            return position
        if plain := _UNQUOTED.match(text, position):
            return plain.end()
        if text[position] == '"':
            self._at = _At.NESTED_STRING
        else:
            self._depth += 1 if text[position] in "{[" else -1
            if self._depth == 0:
                self._at = _At.AFTER_VALUE
        return position + 1

    def _read_string(self, text: str, position: int) -> tuple[str, int, bool]:
        parts: list[str] = []
        while position < len(text):
            if run := _RUN.match(text, position):
                parts.append(run[0])
                position = run.end()
            elif text[position] == '"':
                return "".join(parts), position + 1, True
            elif escape := _ESCAPE.match(text, position):
                parts.append(_unescape(escape[0]))
                position = escape.end()
            else:
                if _ESCAPE_BEGUN.match(text, position):
                    self._held = text[position:]
                else:
                    self._at = _At.BROKEN
                position = len(text)
        return "".join(parts), position, False


def _unescape(escape: str) -> str:
    if escape[1] == "u":
        return chr(int(escape[2:], 16))
    return _PLAIN.get(escape[1], escape[1])
