"""A generation as the events of a response: numbered from 0, the same at every replay.

The number of an event is how many came before it since the start, so it is a function of the log
alone: a reader that has seen some of them is told all the same, and those are left out.
"""

from typing import Any

import msgspec

from jobs.cursor import Cursor
from jobs.events import Ended, LoggedData, Reset, Status, Token
from jobs.generation import FileChange, Generation, SkillChoice, State, encode
from jobs.store.protocols import Begun
from relay.protocols.openai_responses.objects import (
    Json,
    call_item,
    message_item,
    response_object,
    status_of,
    text_part,
)

DONE = b"data: [DONE]\n\n"

_LAST_EVENTS = {"completed": "response.completed", "failed": "response.failed"}


class ResponseEvents:
    """Tells what follows the event numbered `after` (Projection); -1 for everything.

    `response` is the final response, once the end was told.
    """

    def __init__(self, begun: Begun, after: int = -1) -> None:
        self.response: Json | None = None
        self._begun = begun
        self._after = after
        self._begin_anew()

    def tell(self, cursor: Cursor, data: LoggedData) -> bytes:
        """The events that this one is, and [DONE] after the last."""
        match data:
            case Reset():
                # What comes instead begins with all that was told, so that it is only skipped.
                self._after = max(self._after, self._number - 1)
                self._begin_anew()
                return b""
            case Status():
                return self._started(data.state)
            case Token():
                return self._text_delta(data.text)
            case FileChange() | SkillChoice():
                return self._close_message("completed") + self._call(data)
            case Ended():
                return self._end(data.generation)
        return b""

    def _begin_anew(self) -> None:
        self._number = 0
        self._output: list[Json] = []
        self._pieces: list[str] = []

    def _started(self, state: State) -> bytes:
        told = b""
        if not self._number:
            told += self._lifecycle("response.created", "queued")
            told += self._lifecycle("response.queued", "queued")
        if state is State.RUNNING:
            told += self._lifecycle("response.in_progress", "in_progress")
        return told

    def _text_delta(self, text: str) -> bytes:
        told = b"" if self._pieces else self._open_message()
        self._pieces.append(text)
        return told + self._event(
            "response.output_text.delta", **self._place(), delta=text, logprobs=[]
        )

    def _open_message(self) -> bytes:
        item = message_item(self._begun.generation.id, len(self._output), "in_progress")
        told = self._event("response.output_item.added", output_index=len(self._output), item=item)
        return told + self._event(
            "response.content_part.added", **self._place(), part=text_part("")
        )

    def _close_message(self, status: str) -> bytes:
        if not self._pieces:
            return b""
        index, text = len(self._output), "".join(self._pieces)
        item = message_item(self._begun.generation.id, index, status, text)
        told = self._event("response.output_text.done", **self._place(), text=text, logprobs=[])
        told += self._event("response.content_part.done", **self._place(), part=text_part(text))
        told += self._event("response.output_item.done", output_index=index, item=item)
        self._pieces = []
        self._output.append(item)
        return told

    def _call(self, change: FileChange | SkillChoice) -> bytes:
        index = len(self._output)
        item = call_item(self._begun.generation.id, index, change)
        arguments, place = item["arguments"], {"item_id": item["id"], "output_index": index}
        begun = {**item, "status": "in_progress", "arguments": ""}
        told = self._event("response.output_item.added", output_index=index, item=begun)
        told += self._event("response.function_call_arguments.delta", **place, delta=arguments)
        told += self._event(
            "response.function_call_arguments.done",
            **place, name=item["name"], arguments=arguments,
        )  # fmt: skip
        told += self._event("response.output_item.done", output_index=index, item=item)
        self._output.append(item)
        return told

    def _end(self, generation: Generation) -> bytes:
        begun = msgspec.structs.replace(self._begun, generation=generation)
        status = status_of(generation)
        told = self._close_message("completed" if status == "completed" else "incomplete")
        self.response = response_object(begun, status, self._output)
        seen = self._number <= self._after
        # A worker lost together with the log leaves less than was told; the end is told even so.
        lost = generation.state is State.FAILED and generation.attempt > 1
        if seen and (lost or self._number < self._after):
            self._number = self._after + 1
        name = _LAST_EVENTS.get(status, "response.incomplete")
        return told + self._event(name, response=self.response) + DONE

    def _place(self) -> Json:
        index = len(self._output)
        item_id = message_item(self._begun.generation.id, index, "in_progress")["id"]
        return {"item_id": item_id, "output_index": index, "content_index": 0}

    def _lifecycle(self, name: str, status: Any) -> bytes:
        return self._event(name, response=response_object(self._begun, status))

    def _event(self, name: str, /, **fields: Any) -> bytes:
        number = self._number
        self._number += 1
        if number <= self._after:
            return b""
        data = encode({"type": name, "sequence_number": number, **fields})
        return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
