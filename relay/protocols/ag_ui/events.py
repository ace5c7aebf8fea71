"""A generation as AG-UI events: one assistant message, no delta told twice to the same reader.

The message's id is the generation's. An optional field without a value is left out, for a null
ends the run in the client.
"""

from collections.abc import Sequence
from typing import Any

from jobs.cursor import Cursor
from jobs.events import Ended, FileDelta, LoggedData, Notice, Reset, Status, Token
from jobs.generation import FileChange, Generation, SkillChoice, State, encode

_CUSTOM: dict[type[Any], str] = {FileChange: "file", SkillChoice: "skill", Notice: "notice"}


class Events:
    """What one reader is told (Projection); `snapshot` are the messages before this answer.

    It is for readers that have been told of the run before: what they have of its answer is to be
    forgotten. AG-UI knows no reset, so after one what was told already is left out.
    """

    def __init__(
        self,
        generation: Generation,
        thread_id: str,
        run_id: str,
        snapshot: Sequence[dict[str, str]] | None = None,
    ) -> None:
        self._message_id = generation.id
        self._run = {"threadId": thread_id, "runId": run_id}
        self._snapshot = snapshot
        self._begun = False
        self._in_message = False
        # How many events with content there were in this attempt, and how many were told.
        self._position = 0
        self._told = 0

    def tell(self, cursor: Cursor, data: LoggedData) -> bytes:
        """The events that this one is."""
        return self._start() + self._events(data)

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        started = _event("RUN_STARTED", **self._run)
        if self._snapshot is not None:
            started += _event("MESSAGES_SNAPSHOT", messages=self._snapshot)
        return started

    def _events(self, data: LoggedData) -> bytes:
        match data:
            case Reset():
                self._position = 0
                return b""
            case Ended():
                return self._end(data.generation)
            case Status() | FileDelta():
                return b""
        self._position += 1
        if self._position <= self._told:
            return b""
        self._told = self._position
        if isinstance(data, Token):
            return self._open_message() + self._message("TEXT_MESSAGE_CONTENT", delta=data.text)
        return _event("CUSTOM", name=_CUSTOM[type(data)], value=data)

    def _message(self, kind: str, **fields: str) -> bytes:
        return _event(kind, messageId=self._message_id, **fields)

    def _open_message(self) -> bytes:
        if self._in_message:
            return b""
        self._in_message = True
        return self._message("TEXT_MESSAGE_START", role="assistant")

    def _close_message(self) -> bytes:
        if not self._in_message:
            return b""
        self._in_message = False
        return self._message("TEXT_MESSAGE_END")

    def _end(self, generation: Generation) -> bytes:
        closing = self._close_message()
        usage = _usage(generation)
        error = generation.error
        if error is not None:
            return closing + _event("RUN_ERROR", message=error.message, code=error.code, **usage)
        outcome = {"type": "cancelled" if generation.state is State.CANCELLED else "success"}
        result = _result(generation)
        return closing + _event(
            "RUN_FINISHED", **self._run, outcome=outcome, result=result, **usage
        )


def _usage(generation: Generation) -> dict[str, Any]:
    used = generation.usage
    if used is None:
        return {}
    counts = {"inputTokens": used.input_tokens, "outputTokens": used.output_tokens}
    return {"usage": [{"model": generation.model, **counts, "totalTokens": sum(counts.values())}]}


def _result(generation: Generation) -> dict[str, Any]:
    output = generation.output
    found = {
        "generation_id": generation.id,
        "conversation_id": generation.conversation_id,
        "persona_id": generation.persona_id,
        "persona_version": output.persona_version if output else None,
        "finish_reason": output.finish_reason if output else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: %s\n\n" % encode({"type": kind, **fields})
