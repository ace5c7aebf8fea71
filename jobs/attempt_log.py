"""The events of one attempt as its writer holds them: numbered once, framed once, never changed.

It keeps the text and the timeline, from which every frame can be made again; frames themselves are
kept only until Redis has them.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from jobs.cursor import Cursor
from jobs.events import (
    Event,
    EventData,
    FileDelta,
    LoggedData,
    Notice,
    Reset,
    Status,
    Token,
    frame,
    terminal_frame,
    token_frame,
)
from jobs.generation import FileChange, Generation, SkillChoice, State, encode
from jobs.timeline import Timeline, pack, rebuild

CHUNK_FRAMES = 500
CHUNK_BYTES = 1 << 18


class AttemptLog:
    """Append-only; `on_change(urgent)` is called after each append, urgent for the first text.

    `on_open` is called where only the status is new, which may wait for what comes next.
    """

    def __init__(
        self,
        generation_id: str,
        attempt: int,
        on_change: Callable[["AttemptLog", bool], None],
        on_open: Callable[["AttemptLog"], None] = lambda _: None,
    ) -> None:
        self.generation_id = generation_id
        self.attempt = attempt
        self._on_change = on_change
        self._on_open = on_open
        # UTF-8, since a string takes four bytes for each character once one of them does.
        self._text = bytearray()
        self._timeline = Timeline()
        self._batch: list[str] = []
        self._pieces: list[FileDelta] = []
        self._delta_end = 0
        self._frames: list[bytes] = []
        self._seq = 0
        self._offset = 0
        self.characters = 0
        """Code points of text so far, batched or not."""
        self.told_anything = False
        """Whether a reader could have been shown more than where the generation stands."""
        self.sent = 0
        """The seq up to which Redis is known to have the log."""
        self.located = True
        """Whether `sent` is known; not so after a call whose outcome was not told."""
        self.left_at = 0.0
        """When its last entry began to leave, by the loop's clock; set by the publisher."""
        self.rests_until = 0.0
        """Until when what is appended may wait for more, by that clock; set by the publisher."""
        self._terminal: bytes | None = None
        self.fenced = False
        """Whether a newer attempt writes this generation's log; set by the publisher."""

    @property
    def text(self) -> str:
        """All text so far: what the stream carries, and what is committed."""
        return self._text.decode() + "".join(self._batch)

    @property
    def ended(self) -> bool:
        """Whether the terminal event was appended: nothing may follow."""
        return self._terminal is not None

    @property
    def seq(self) -> int:
        """The seq of the last numbered event."""
        return self._seq

    @property
    def pending(self) -> bool:
        """Whether anything was appended that Redis is not known to have."""
        return bool(self._batch or self._pieces) or self.sent < self._seq

    @property
    def pieces(self) -> int:
        """How many pieces of text, or of a file, wait to become one event."""
        return len(self._batch) + len(self._pieces)

    def append_text(self, text: str) -> None:
        """Adds model text; what arrives between two flushes becomes one `token` event."""
        if self._batch:
            # Whoever is to hear of it was told with the first piece: this is once a model token.
            self._batch.append(text)
            self.characters += len(text)
        elif text:
            self.told_anything = True
            self._seal_delta()
            first = self.characters == 0
            self._batch.append(text)
            self.characters += len(text)
            self._on_change(self, first)

    def append_file_delta(self, delta: FileDelta) -> None:
        """Adds a piece of a file; what continues the piece before becomes one event with it."""
        self.told_anything = True
        begun = self._pieces
        if begun and begun[0].path == delta.path and self._delta_end == delta.at:
            begun.append(delta)
        else:
            self._seal()
            begun.append(delta)
        self._delta_end = delta.at + len(delta.text)
        self._on_change(self, delta.at == 0)

    def open(self) -> None:
        """Adds that it runs: told with what comes next, or soon by itself."""
        self._seal()
        self._number("status", Status(State.RUNNING, self.attempt))
        self._on_open(self)

    def append(self, event: Event, data: EventData) -> None:
        """Adds another event after all that came so far."""
        self.told_anything |= not isinstance(data, Reset | Status)
        self._seal()
        self._number(event, data)
        self._on_change(self, True)

    def append_again(self, data: LoggedData) -> None:
        """Adds an event of an earlier attempt as an event of its own, so that it stays countable.

        What says where that attempt stood, and what is a preview, is left out.
        """
        match data:
            case Token():
                self.append_text(data.text)
                self._seal()
            case FileChange():
                self.append("file", data)
            case SkillChoice():
                self.append("skill", data)
            case Notice():
                self.append("notice", data)

    def close(self) -> Cursor:
        """Numbers what is left, and gives the id that the terminal event will have."""
        self._seal()
        return Cursor(self.attempt, self._seq + 1, self._offset)

    def append_terminal(self, generation: Generation) -> None:
        """Adds the last event, from the committed row. Call it after the commit, never before."""
        self._seal()
        self._seq += 1
        self._terminal = terminal_frame(self._cursor(), generation)
        self._frames.append(self._terminal)
        self._on_change(self, True)

    def timeline(self) -> bytes:
        """The timeline as it is stored with the commit; call `close` before."""
        return pack(self._timeline)

    def unsent(self) -> Sequence[bytes]:
        """Frames from `sent + 1` on, some at a time; made again where they were sent and lost."""
        self._seal()
        known = self.sent - (self._seq - len(self._frames))
        if known > 0:
            del self._frames[:known]
        if self._seq - len(self._frames) == self.sent:
            return _bounded(self._frames)
        again = rebuild(self.attempt, self.text, self._timeline, self.sent)
        end = () if self._terminal is None else (self._terminal,)
        return _bounded(chain((one for _, one in again), end))

    def forget_frames(self) -> None:
        """Lets go of the frames not sent yet; `unsent` makes them again when they are wanted."""
        self._seal()
        self._frames.clear()

    def _number(self, event: Event, data: EventData) -> None:
        encoded = encode(data)
        self._seq += 1
        self._timeline.add_event(event, encoded)
        self._frames.append(frame(self._cursor(), event, encoded))

    def _seal_delta(self) -> None:
        if self._pieces:
            path, at = self._pieces[0].path, self._pieces[0].at
            text = "".join([piece.text for piece in self._pieces])
            self._pieces.clear()
            self._number("file_delta", FileDelta(path, at, text))

    def _seal(self) -> None:
        if self._pieces:
            self._seal_delta()
        if self._batch:
            text = "".join(self._batch)
            self._text += text.encode()
            self._batch.clear()
            characters = len(text)
            self._timeline.add_token_batch(characters)
            self._seq += 1
            self._offset += characters
            cursor = Cursor(self.attempt, self._seq, self._offset)
            self._frames.append(token_frame(cursor, text))

    def _cursor(self) -> Cursor:
        return Cursor(self.attempt, self._seq, self._offset)


def _bounded(frames: Iterable[bytes]) -> list[bytes]:
    chosen: list[bytes] = []
    size = 0
    for one in frames:
        chosen.append(one)
        size += len(one)
        if len(chosen) >= CHUNK_FRAMES or size >= CHUNK_BYTES:
            break
    return chosen
