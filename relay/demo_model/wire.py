"""The bytes of an OpenAI-compatible answer: chunks, whole completions and errors."""

import json
from dataclasses import dataclass

import msgspec

from .answers import Arguments, CallStart, Delta, Text

FINGERPRINT = "scripted-demo-model"
"""In every answer, as `system_fingerprint`: says that no LLM made it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written; about one a word."""

    prompt_tokens: int
    completion_tokens: int

    def document(self) -> dict[str, int]:
        """The `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Frames:
    """The SSE frames of one streamed answer; what all its chunks share is encoded once."""

    def __init__(
        self, id: str, created: int, model: str, *, include_usage: bool, crlf: bool
    ) -> None:
        head = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        self._head = encode(head)[:-1]
        self._tail = b',"usage":null}' if include_usage else b"}"
        self._end = b"\r\n\r\n" if crlf else b"\n\n"

    def role(self) -> bytes:
        """The first chunk, which has no text."""
        return self._chunk(b'{"role":"assistant","content":"","refusal":null}', b"null")

    def delta(self, delta: Delta) -> bytes:
        """The chunk of a delta."""
        match delta:
            case Text(text):
                return self._chunk(b'{"content":' + encode(text) + b"}", b"null")
            case CallStart(index, id, name):
                function = {"name": name, "arguments": ""}
                return self._call({"index": index, "id": id, "type": "function"}, function)
            case Arguments(index, text):
                return self._call({"index": index}, {"arguments": text})

    def finish(self, reason: str) -> bytes:
        """The chunk with the finish reason."""
        return self._chunk(b"{}", encode(reason))

    def usage(self, usage: Usage) -> bytes:
        """The extra last chunk, which has no choices."""
        document = encode(usage.document())
        return self._framed(self._head + b',"choices":[],"usage":' + document + b"}")

    def done(self) -> bytes:
        """The end mark."""
        return self._framed(b"[DONE]")

    def comment(self) -> bytes:
        """A keep-alive, which is no data."""
        return b": keep-alive" + self._end

    def malformed(self) -> bytes:
        """A chunk whose JSON breaks off."""
        return self._framed(self._head + b',"choices":[{"index":0,"delta":{"content":"bro')

    def error(self) -> bytes:
        """An error in the middle of the stream."""
        return self._framed(error_body(*SCRIPTED_ERROR))

    def _call(self, call: dict[str, object], function: dict[str, str]) -> bytes:
        return self._chunk(encode({"tool_calls": [call | {"function": function}]}), b"null")

    def _chunk(self, delta: bytes, finish: bytes) -> bytes:
        choice = b'{"index":0,"delta":' + delta + b',"logprobs":null,"finish_reason":' + finish
        return self._framed(self._head + b',"choices":[' + choice + b"}]" + self._tail)

    def _framed(self, data: bytes) -> bytes:
        return b"data: " + data + self._end


SCRIPTED_ERROR = ("The scripted demo model fails on request.", "server_error", "scripted_error")


def completion(
    id: str, created: int, model: str, deltas: list[Delta], finish: str, usage: Usage
) -> bytes:
    """The body of an answer that is not streamed."""
    text = "".join(delta.text for delta in deltas if isinstance(delta, Text))
    starts = [delta for delta in deltas if isinstance(delta, CallStart)]
    written = {start.index: "" for start in starts}
    for delta in deltas:
        if isinstance(delta, Arguments):
            written[delta.index] += delta.text
    message: dict[str, object] = {"role": "assistant", "content": text or None, "refusal": None}
    if starts:
        message["tool_calls"] = [
            {
                "id": start.id,
                "type": "function",
                "function": {"name": start.name, "arguments": written[start.index]},
            }
            for start in starts
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return encode(
        {
            "id": id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "system_fingerprint": FINGERPRINT,
            "choices": [choice],
            "usage": usage.document(),
        }
    )


def error_body(message: str, type: str, code: str | None, param: str | None = None) -> bytes:
    """The body of a refusal."""
    return encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def encode(document: object) -> bytes:
    """JSON in UTF-8; a lone surrogate is written as its escape."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()
