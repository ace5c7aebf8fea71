"""One round's tool calls put together from the fragments that a model streams, files previewed.

The previews of a call are together exactly the content that the finished call will be read to
have, wherever the fragments were cut. Nothing is validated here but the path of a preview.
"""

from dataclasses import dataclass
from typing import Final

from persona_apply.errors import InvalidPath
from persona_apply.partial_json import ObjectReader, StringPiece
from persona_apply.paths import check_path
from persona_apply.persona import MAX_TOTAL_BYTES
from persona_apply.proposal import MAX_ARGUMENTS_CHARACTERS, WRITE_FILE, ToolCall
from persona_apply.text import TextJoiner, clean_text

MAX_CALLS: Final = 64
_MAX_LABEL_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class FilePreview:
    """A piece of a file while the model writes it (protocol §5, `file_delta`); never empty."""

    path: str
    """Complete and valid."""
    at: int
    """Code points of this call's content that were given before; 0 = the file begins anew."""
    text: str


class ToolCallAssembler:
    """Collects one round's fragments: `feed` each as it comes, then `finish` once.

    A fragment belongs to the call of its index (without one: of its id, else the latest call). It
    begins a new call when there is none yet, when it brings a name and another id, or a name and
    arguments after the earlier ones were complete: some servers give all calls one index, others
    repeat name or id in every fragment. Keeps at most 64 calls, and of each a little more than the
    arguments that `parse_call` takes.
    """

    __slots__ = ("_at", "_calls", "_latest", "overflowed")

    def __init__(self) -> None:
        self._calls: list[_OpenCall] = []
        self._at: dict[int, _OpenCall] = {}
        self._latest: _OpenCall | None = None
        self.overflowed = False
        """Whether calls beyond the 64th came, which `finish` does not give."""

    def feed(
        self, index: int | None, id: str | None, name: str | None, arguments: str | None
    ) -> list[FilePreview]:
        """Take one fragment, any part of which may be missing; at most one preview comes of it."""
        if not (id or name or arguments):
            return []
        call = self._at.get(index) if index is not None else self._by_id(id)
        if call is None or call.is_over_with(id, name, arguments):
            call = self._begin(index)
        if call is None:
            return []
        self._latest = call
        preview = call.feed(id, name, arguments)
        return [preview] if preview else []

    def finish(self) -> list[ToolCall]:
        """The calls in the order of their indices; a missing or repeated id becomes `call_<n>`."""
        ordered = sorted(self._calls, key=lambda call: call.index)
        given = {call.id for call in ordered}
        used: set[str] = set()
        finished: list[ToolCall] = []
        for position, call in enumerate(ordered):
            call_id, number = call.id, position
            while not call_id or call_id in used:
                made = f"call_{number}"
                call_id = made if made not in given else ""
                number += len(ordered)
            used.add(call_id)
            finished.append(ToolCall(call_id, call.name, call.arguments()))
        return finished

    def _by_id(self, id: str | None) -> "_OpenCall | None":
        if id:
            for call in reversed(self._calls):
                if call.id == id:
                    return call
        return self._latest

    def _begin(self, index: int | None) -> "_OpenCall | None":
        if index is None:
            index = max((call.index for call in self._calls), default=-1) + 1
        if len(self._calls) >= MAX_CALLS:
            # Forgotten, so that the dropped call's later fragments reach no other one.
            self._at.pop(index, None)
            self._latest = None
            self.overflowed = True
            return None
        call = _OpenCall(index)
        self._calls.append(call)
        self._at[index] = call
        return call


class _OpenCall:
    """One call while its fragments come."""

    __slots__ = ("_characters", "_joiner", "_parts", "_preview", "_reader", "id", "index", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self._parts: list[str] = []
        self._characters = 0
        self._joiner = TextJoiner()
        self._reader = ObjectReader()
        self._preview = _Preview()

    def is_over_with(self, id: str | None, name: str | None, arguments: str | None) -> bool:
        """Whether this fragment, found at the same place, belongs to another call."""
        if not (name and self.name):
            return False
        another = bool(id and self.id and _label(id) != self.id)
        return another or bool(arguments and arguments.strip() and self._reader.complete)

    def feed(self, id: str | None, name: str | None, arguments: str | None) -> FilePreview | None:
        if id and not self.id:
            self.id = _label(id)
        if name and name != self.name:
            self.name = _label(self.name + name)
        pieces = self._collect(arguments) if arguments else []
        return self._preview.take(pieces, self.name == WRITE_FILE)

    def arguments(self) -> str:
        return "".join(self._parts) + self._joiner.flush()

    def _collect(self, arguments: str) -> list[StringPiece]:
        # One character more than is allowed is kept, so that the parser sees that it is too much.
        text = self._joiner.feed(arguments)[: MAX_ARGUMENTS_CHARACTERS + 1 - self._characters]
        self._characters += len(text)
        self._parts.append(text)
        return self._reader.feed(text)


class _Preview:
    """The content of one write_file call as far as it can be shown."""

    __slots__ = ("_content", "_given", "_joiner", "_path", "_path_parts")

    def __init__(self) -> None:
        self._path_parts: list[str] = []
        self._path: str | None = None
        self._content: list[str] = []
        self._joiner = TextJoiner()
        self._given = 0

    def take(self, pieces: list[StringPiece], wanted: bool) -> FilePreview | None:
        for piece in pieces:
            if piece.key == "path":
                self._take_path(piece)
            elif piece.key == "content":
                self._content.append(self._joiner.feed(piece.text))
                if piece.ended:
                    self._content.append(self._joiner.flush())
        # Content beyond what any persona may hold will be refused: no use in showing more of it.
        if not wanted or self._path is None or self._given > MAX_TOTAL_BYTES:
            return None
        text = "".join(self._content)
        self._content.clear()
        if not text:
            return None
        preview = FilePreview(self._path, self._given, text)
        self._given += len(text)
        return preview

    def _take_path(self, piece: StringPiece) -> None:
        self._path_parts.append(piece.text)
        if not piece.ended:
            return
        try:
            self._path = check_path("".join(self._path_parts))
        except InvalidPath:
            # The finished call is refused with the reason; until then there is nothing to show.
            self._path = None


def _label(text: str) -> str:
    return clean_text(text)[:_MAX_LABEL_CHARACTERS]
