"""Asks a demo model: the request, and the bytes of its answer taken apart as the protocol says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from openai import AsyncOpenAI

Json = dict[str, Any]

TOOLS: list[Json] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("write_file", "delete_file", "use_skill")
]
HELLO: list[Json] = [{"role": "user", "content": "Tell me about rivers, please."}]
NAME = "Ada Löwe"
BRIEF = "A patient maths tutor — explains fractions to pupils and reviews their Python code."
MAKE: list[Json] = [
    {"role": "system", "content": "You make personas; begin with persona.md."},
    {"role": "user", "content": f"Name: {NAME}\nBrief: {BRIEF}"},
]
CHANGE: list[Json] = [
    {
        "role": "system",
        "content": f"Name: {NAME}\nBrief: {BRIEF}\n\n"
        '<file path="persona.md">\n# Ada\n\nOne.\n\nTwo.\n\nThree.\n</file>\n'
        '<file path="voice.md">\n# Voice\n\nWarm.\n</file>\n',
    },
    {"role": "user", "content": "A brief."},
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "Add a joke to her voice."},
]


@dataclass
class Said:
    """An answer as its reader sees it."""

    text: str = ""
    tokens: list[str] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    """`id`, `name`, `arguments` (text) of each, in order."""
    finish: str | None = None
    chunks: list[Json] = field(default_factory=list)
    done: bool = False
    """[DONE] was the last frame."""
    ended: bool = False
    """The body ended as HTTP says; False after a drop."""

    def files(self) -> dict[str, str]:
        """Path to content of the write_file calls."""
        written = [json.loads(c["arguments"]) for c in self.calls if c["name"] == "write_file"]
        return {call["path"]: call["content"] for call in written}

    def skills(self) -> list[str]:
        """The names that use_skill asked for."""
        used = [call for call in self.calls if call["name"] == "use_skill"]
        return [json.loads(call["arguments"])["name"] for call in used]


def take(said: Said, body: bytes) -> Said:
    """Read the frames of a whole body into `said`."""
    for frame in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        if frame == b"data: [DONE]":
            said.done = True
        elif frame.startswith(b"data: "):
            _take_chunk(said, json.loads(frame.removeprefix(b"data: ")))
    return said


def _take_chunk(said: Said, chunk: Json) -> None:
    said.chunks.append(chunk)
    for choice in chunk.get("choices", []):
        delta = choice["delta"]
        if delta.get("content"):
            said.tokens.append(delta["content"])
            said.text += delta["content"]
        for call in delta.get("tool_calls", []):
            if "id" in call:
                said.calls.append({"id": call["id"], "name": call["function"]["name"]})
            known = said.calls[call["index"]]
            known["arguments"] = known.get("arguments", "") + call["function"]["arguments"]
        said.finish = choice["finish_reason"] or said.finish


def body_of(model: str, messages: Sequence[Json] = HELLO, **fields: Any) -> Json:
    """A streamed request."""
    return {"model": model, "messages": list(messages), "stream": True, **fields}


async def ask(
    http: httpx.AsyncClient, model: str, messages: Sequence[Json] = HELLO, **fields: Any
) -> Said:
    """Ask for a streamed answer and read it to its end, or to its drop."""
    said, body = Said(), b""
    request = body_of(model, messages, **fields)
    async with http.stream("POST", "/v1/chat/completions", json=request) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        try:
            async for piece in response.aiter_bytes():
                body += piece
            said.ended = True
        except httpx.RemoteProtocolError:
            said.ended = False
    return take(said, body)


def answered(messages: Sequence[Json], said: Said, result: str = '{"ok": true}') -> list[Json]:
    """The messages of the next round: the calls, and one result for all of them."""
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in said.calls
    ]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": result} for call in said.calls
    ]
    return [
        *messages,
        {"role": "assistant", "content": said.text or None, "tool_calls": calls},
        *results,
    ]


async def sdk_text(openai: AsyncOpenAI, model: str) -> tuple[str, str | None]:
    """The text and the finish reason that the official client gives."""
    text, finish = "", None
    stream = await openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hello."}], stream=True
    )
    async with stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
    return text, finish
