"""Reads one streamed round of a chat completion: bytes in, model events out.

The events are the same wherever the bytes were cut, but that text which came in one piece is one
event. Anything that is no chat completion is a `ProviderFailed`, never another error.
"""

import json
from typing import Annotated, Any

import msgspec

from jobs.generation import Usage
from jobs.provider_errors import ProviderFailed, reported, shown
from jobs.provider_sse import EventSplitter, EventTooLong
from persona_apply import TextJoiner

MAX_REASON_CHARACTERS = 64

_MAX_HEAD_BYTES = 2048

_Count = Annotated[int, msgspec.Meta(ge=0)] | None


class TextPiece(msgspec.Struct, frozen=True, gc=False):
    """Text of the answer: one or more tokens, clean (protocol §1), never empty."""

    text: str


class CallPiece(msgspec.Struct, frozen=True, gc=False):
    """A fragment of a tool call, any part of which may be missing, as the model sent it."""

    index: int | None
    id: str | None
    name: str | None
    arguments: str | None


class Finished(msgspec.Struct, frozen=True):
    """The last event of a whole round; `usage` is None when the endpoint did not tell it."""

    finish_reason: str
    usage: Usage | None


ModelEvent = TextPiece | CallPiece | Finished


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    # Thoughts are not shown, but a model that thinks is not silent.
    reasoning: Any = None
    reasoning_content: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None
    type: Any = None


class _Counts(msgspec.Struct, gc=False):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None


_DECODER = msgspec.json.Decoder(_Chunk)


class RoundReader:
    """What one round says: `feed` it the body, then `end` it, and look at `failure` after each.

    A failure is not raised, so that what came before it in the same bytes is not lost.
    """

    __slots__ = (
        "_events", "_head", "_joiner", "_saw_event", "_secret", "_splitter", "_texts", "_usage",
        "done", "failure", "finish_reason", "spoke",
    )  # fmt: skip

    def __init__(self, secret: str = "") -> None:
        self._secret = secret
        self._splitter = EventSplitter()
        self._joiner = TextJoiner()
        self._texts: list[str] = []
        self._events: list[ModelEvent] = []
        self._head = b""
        self._saw_event = False
        self.finish_reason: str | None = None
        self._usage: Usage | None = None
        self.spoke = False
        """Whether the last piece held anything that a model says: text, a call, thought, an end."""
        self.done = False
        """Whether the stream said that nothing more comes."""
        self.failure: ProviderFailed | None = None

    def feed(self, piece: bytes) -> list[ModelEvent]:
        """What this piece of the body completes."""
        self.spoke = False
        if not self._saw_event and len(self._head) < _MAX_HEAD_BYTES:
            self._head += piece[:_MAX_HEAD_BYTES]
        try:
            for name, data in self._splitter.feed(piece):
                self._saw_event = True
                if self.done:
                    break
                self._take(name, data)
        except ProviderFailed as failure:
            self.failure = failure
        except EventTooLong:
            self.failure = ProviderFailed("model_error", "the model sent a line beyond 1 MiB")
        return self._give()

    def end(self) -> list[ModelEvent]:
        """What is left at the end of the stream: `Finished` when a finish reason came."""
        self._texts.append(self._joiner.flush())
        if self.finish_reason is not None:
            events = self._give()
            events.append(Finished(self.finish_reason, self._usage))
            return events
        head = self._head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not self._saw_event and head[:1] in (b"<", b"{", b"["):
            self.failure = _no_stream(head, self._secret)
        else:
            self.failure = ProviderFailed(
                "model_truncated", "the model's stream ended without a finish reason"
            )
        return self._give()

    def _give(self) -> list[ModelEvent]:
        self._close_text()
        events, self._events = self._events, []
        return events

    def _close_text(self) -> None:
        if self._texts:
            text = self._joiner.feed("".join(self._texts))
            self._texts.clear()
            if text:
                self._events.append(TextPiece(text))

    def _take(self, name: bytes, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self.done = True
            return
        if not data or data.isspace():
            return
        if name == b"error":
            raise reported(_any_json(data), self._secret)
        chunk = _decode(data)
        if chunk.error:
            raise reported(chunk.error, self._secret)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage) or self._usage
        if chunk.choices is None:
            if "error" in (chunk.object, chunk.type):
                raise reported(_any_json(data), self._secret)
            return
        for choice in chunk.choices:
            if not choice.index:
                self._take_choice(choice)

    def _take_choice(self, choice: _Choice) -> None:
        delta = choice.delta
        if delta is not None:
            if delta.content:
                self._texts.append(delta.content)
                self.spoke = True
            if delta.refusal:
                self._texts.append(delta.refusal)
                self.spoke = True
            if delta.tool_calls:
                self._take_calls(delta.tool_calls)
            if delta.reasoning or delta.reasoning_content:
                self.spoke = True
        if choice.finish_reason:
            if choice.finish_reason == "error":
                raise reported(None, self._secret)
            self.finish_reason = shown(choice.finish_reason)[:MAX_REASON_CHARACTERS]
            self.spoke = True

    def _take_calls(self, calls: list[_Call]) -> None:
        for call in calls:
            function = call.function or _Function()
            if call.id or function.name or function.arguments:
                self._close_text()
                self._events.append(
                    CallPiece(call.index, call.id, function.name, function.arguments)
                )
                self.spoke = True


def _decode(data: bytes) -> _Chunk:
    try:
        try:
            return _DECODER.decode(data)
        except msgspec.ValidationError:
            raise
        except ValueError:
            # It refuses lone surrogates and bytes that are no UTF-8; both are only unclean text.
            return msgspec.convert(json.loads(data.decode(errors="replace")), _Chunk)
    except msgspec.ValidationError as error:
        reason = f"the model sent a chunk of another shape: {shown(str(error))}"
    except (ValueError, RecursionError):
        reason = "the model sent a chunk that is no JSON"
    raise ProviderFailed("model_error", reason)


def _any_json(data: bytes) -> object:
    text = data.decode(errors="replace")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return parsed


def _usage(counts: object) -> Usage | None:
    """The usage, or None where its shape is another: no reason to lose the answer."""
    try:
        found = msgspec.convert(counts, _Counts)
    except msgspec.ValidationError:
        return None
    if found.prompt_tokens is None and found.completion_tokens is None:
        return None
    return Usage(found.prompt_tokens or 0, found.completion_tokens or 0)


def _no_stream(head: bytes, secret: str) -> ProviderFailed:
    """The failure for a page or a JSON document that came in the place of a stream."""
    body = _any_json(head)
    if isinstance(body, dict) and body.get("error"):
        return reported(body["error"], secret)
    what = "a page" if head.startswith(b"<") else "a JSON document"
    said = shown(head.decode(errors="replace"), secret)
    return ProviderFailed(
        "model_error", shown(f"the model's endpoint sent {what} instead of a stream: {said}")
    )
