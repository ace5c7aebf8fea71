"""Reads a request as the demo model understands it: which kind of turn it is, and about what.

A message may say what it is about in lines `Name: …` and `Brief: …`. A system message may show the
persona's files, each as `<file path="voice.md">…</file>` or under a heading that is its path.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from .chat_request import ChatRequest, Message

UNNAMED = "The Unnamed Persona"
MAX_NAME = 80


class Kind(Enum):
    """The turn that is asked for."""

    CHAT = "chat"
    GENERATE = "generate"
    REFINE = "refine"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of one call of the round before."""

    name: str
    arguments: str
    answer: str

    @property
    def refused(self) -> bool:
        """Whether the answer is a refusal: by its `ok`, or by its words where it has none."""
        accepted = self._document().get("ok")
        if isinstance(accepted, bool):
            return not accepted
        return _REFUSED.search(self.answer) is not None

    @property
    def reason(self) -> str:
        """The answer's `message`, or all of it where it has none."""
        message = self._document().get("message")
        return message if isinstance(message, str) else self.answer

    def _document(self) -> dict[str, object]:
        try:
            document = json.loads(self.answer)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request, understood."""

    kind: Kind
    name: str
    brief: str
    request: str
    """The last user message."""
    turns: int
    """User messages so far, this one included."""
    round: int
    """1 = the first call of the model in this turn."""
    results: tuple[ToolResult, ...]
    """The answers to the calls of the round before."""
    files: Mapping[str, str]
    """The persona's files as the system message shows them, path to content."""
    tools: frozenset[str]
    seed: int
    """The same for the same messages: settles every choice of words."""


def read_conversation(request: ChatRequest) -> Conversation:
    """What the request asks for."""
    messages = request.messages
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    start = users[-1] if users else 0
    said = messages[start].text
    system = "\n".join(m.text for m in messages if m.role in ("system", "developer"))
    files = _files(system)
    before = messages[:start]
    kind = _kind(request.tool_names, said, before, files)
    sources = [said, system] if kind is Kind.GENERATE else [system, said]
    sources += [message.text for message in before if message.role == "user"]
    brief = _first_labelled("Brief", sources) or (said if kind is Kind.GENERATE else "")
    name = " ".join((_first_labelled("Name", sources) or _named_in(brief) or UNNAMED).split())
    return Conversation(
        kind=kind,
        name=name[:MAX_NAME],
        brief=brief,
        request=said,
        turns=max(1, len(users)),
        round=1 + sum(1 for message in messages[start:] if message.tool_calls),
        results=_results(messages[start:]),
        files=MappingProxyType(files),
        tools=request.tool_names,
        seed=zlib.crc32("\0".join(m.text for m in messages).encode(errors="surrogatepass")),
    )


def _kind(
    tools: frozenset[str], said: str, before: Sequence[Message], files: Mapping[str, str]
) -> Kind:
    if "write_file" not in tools:
        return Kind.CHAT
    if _labelled("Name", said) and _labelled("Brief", said):
        return Kind.GENERATE
    if files or any(message.role == "assistant" for message in before):
        return Kind.REFINE
    return Kind.GENERATE


def _results(turn: Sequence[Message]) -> tuple[ToolResult, ...]:
    """The tool messages at the end of the turn, with the calls that they answer."""
    calls = {call.id: call.function for message in turn for call in message.tool_calls or ()}
    results: list[ToolResult] = []
    for message in reversed(turn):
        if message.role != "tool" or message.tool_call_id is None:
            break
        call = calls[message.tool_call_id]
        results.append(ToolResult(call.name, call.arguments, message.text))
    return tuple(reversed(results))


def _first_labelled(label: str, sources: Sequence[str]) -> str | None:
    return next((found for text in sources if (found := _labelled(label, text))), None)


def _labelled(label: str, text: str) -> str | None:
    """What follows `label:` at the start of a line, up to the next labelled line."""
    match = _LABEL[label].search(text)
    if match is None:
        return None
    rest = text[match.end() :]
    end = _NEXT_LABEL.search(rest)
    return rest[: end.start() if end else None].strip() or None


def _named_in(brief: str) -> str | None:
    match = _NAMED.search(brief)
    return match[1] if match else None


def _files(system: str) -> dict[str, str]:
    tagged = {match[1]: match[2] for match in _FILE_TAG.finditer(system)}
    if tagged:
        return tagged
    heads = list(_FILE_HEADING.finditer(system))
    ends = [head.start() for head in heads] + [len(system)]
    return {
        head[1]: _unfenced(system[head.end() : end].strip())
        for head, end in zip(heads, ends[1:], strict=True)
    }


def _unfenced(text: str) -> str:
    match = _FENCE.fullmatch(text)
    return match[1] if match else text


_START = r"(?m)^[ \t]*(?:[-*>#]+[ \t]*)?\*{0,2}"
_LABEL = {
    label: re.compile(_START + rf"{label}\*{{0,2}}[ \t]*:\*{{0,2}}[ \t]*", re.IGNORECASE)
    for label in ("Name", "Brief")
}
_NEXT_LABEL = re.compile(
    _START + r"(?:Name|Brief|Persona|Files|Skills|Request|Message|Instructions)\*{0,2}[ \t]*:"
    r"|(?m:^<file )"
)
_NAMED = re.compile(r"\b(?:named|called)\s+[\"“']?([A-Z]\w{0,30}(?: [A-Z]\w{0,30}){0,2})")
_FILE_TAG = re.compile(r'<file path="([^"\n]{1,255})">\n?(.*?)\n?</file>', re.DOTALL)
_FILE_HEADING = re.compile(
    r"(?m)^(?:#{1,6}|---+|===+|File:|Path:)[ \t]*`?([\w./-]{1,250}\.\w{1,5})`?[ \t]*"
    r"(?:---+|===+|:|\([^)\n]*\))?[ \t]*$"
)
_FENCE = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_REFUSED = re.compile(r"\b(?:error|invalid|refused|rejected|not allowed|unknown)\b", re.IGNORECASE)
