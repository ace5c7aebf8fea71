"""A generation as chunks of the AI SDK's UI message stream: one message, replayed byte for byte.

The message's id is the generation's. Text and what happened to the persona are its parts, in the
order in which they came.
"""

from typing import Any

from jobs.cursor import Cursor
from jobs.events import Ended, FileDelta, LoggedData, Notice, Reset, Token
from jobs.generation import FileChange, Generation, SkillChoice, State, encode

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}

_DONE = b"data: [DONE]\n\n"
_FINISH_REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter"}


class Chunks:
    """What one reader is told (Projection)."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._begun = False
        self._said = False
        self._texts = 0
        self._in_text = False
        self._parts = 0

    def tell(self, cursor: Cursor, data: LoggedData) -> bytes:
        """The chunks that this event is."""
        opening = b"" if self._begun else self._start()
        told = self._chunks(data)
        self._said = not isinstance(data, Reset) and (self._said or bool(told))
        return opening + told

    def _start(self) -> bytes:
        self._begun = True
        one = self._generation
        metadata = {
            "generation_id": one.id,
            "conversation_id": one.conversation_id,
            "persona_id": one.persona_id,
        }
        return _chunk("start", messageId=one.id, messageMetadata=metadata) + _chunk("start-step")

    def _chunks(self, data: LoggedData) -> bytes:
        match data:
            case Token():
                return self._open_text() + _chunk("text-delta", id=self._text_id, delta=data.text)
            case FileDelta():
                return _chunk("data-file-delta", data=data, transient=True)
            case FileChange():
                # Under its path: a file that is written again is the same part, changed in place.
                return self._part("data-file", data, data.path)
            case SkillChoice():
                return self._part("data-skill", data)
            case Notice():
                return self._part("data-notice", data)
            case Reset():
                return self._reset()
            case Ended():
                return self._end(data.generation)
            case _:
                return b""

    @property
    def _text_id(self) -> str:
        return f"text-{self._texts}"

    def _open_text(self) -> bytes:
        if self._in_text:
            return b""
        self._in_text = True
        self._texts += 1
        return _chunk("text-start", id=self._text_id)

    def _close_text(self) -> bytes:
        if not self._in_text:
            return b""
        self._in_text = False
        return _chunk("text-end", id=self._text_id)

    def _part(self, name: str, data: object, ident: str = "") -> bytes:
        self._parts += 1
        return self._close_text() + _chunk(name, id=ident or f"part-{self._parts}", data=data)

    def _reset(self) -> bytes:
        # Takes back every part since `start-step`: what follows replaces it.
        self._in_text, self._texts, self._parts = False, 0, 0
        # Told only where there is something: version 6 of the AI SDK does not know this chunk.
        return _chunk("reset-step") if self._said else b""

    def _end(self, generation: Generation) -> bytes:
        closing = self._close_text()
        error = generation.error
        if error is not None:
            return closing + _chunk("error", errorText=f"{error.code}: {error.message}") + _DONE
        closing += _chunk("finish-step")
        if generation.state is State.CANCELLED:
            return closing + _chunk("abort", reason="cancelled") + _DONE
        output = generation.output
        reason = _FINISH_REASONS.get((output and output.finish_reason) or "", "other")
        metadata = {
            "usage": generation.usage,
            "persona_version": output and output.persona_version,
        }
        return closing + _chunk("finish", finishReason=reason, messageMetadata=metadata) + _DONE


def _chunk(kind: str, **fields: Any) -> bytes:
    return b"data: %s\n\n" % encode({"type": kind, **fields})
