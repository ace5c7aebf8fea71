"""The rounds of one attempt: the model's text and calls become events and a draft persona."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from jobs.attempt_log import AttemptLog
from jobs.errors import JobsError
from jobs.events import FileDelta, Notice
from jobs.generation import Failure, FileChange, SkillChoice, Usage
from jobs.kinds import Tool
from jobs.own_tools import answer_own
from jobs.provider import (
    Asked,
    CallPiece,
    Finished,
    ModelEvent,
    ModelRequest,
    Provider,
    TextPiece,
)
from jobs.tracing import Attributes, here
from persona_apply import (
    MAX_CALLS,
    Draft,
    FileDeleted,
    FileWritten,
    Outcome,
    Refused,
    SkillChosen,
    ToolCall,
    ToolCallAssembler,
    answer,
    clean_text,
)

BETWEEN_ROUNDS = "\n\n"
NO_TOOLS: Mapping[str, Tool] = MappingProxyType({})
# The reasons that a reader is told; a round that ended in tool calls is no end.
_REPORTED_REASONS = frozenset({"stop", "length", "content_filter"})
_LARGEST_COUNT = 2**31 - 1
_NO_FUNCTION_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_FUNCTION_NAME = 64


class GenerationFailed(JobsError):
    """This attempt can't complete; carries what the generation will say of it."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, retryable)


@dataclass(slots=True)
class Answer:
    """What the rounds gave so far; of use even if they are stopped."""

    draft: Draft | None
    finish_reason: str | None = None
    usage: Usage | None = None
    skills: list[SkillChoice] = field(default_factory=list)
    written: int = 0
    """Characters of text and calls that the model wrote, against the limit."""

    def add_usage(self, usage: Usage | None) -> None:
        """Adds a round's usage; a round that told none adds nothing."""
        if usage is None:
            return
        before = self.usage or Usage(0, 0)
        # An endpoint may tell any number; one that no column holds would make the end unstorable.
        self.usage = Usage(
            min(before.input_tokens + usage.input_tokens, _LARGEST_COUNT),
            min(before.output_tokens + usage.output_tokens, _LARGEST_COUNT),
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the rounds may go."""

    rounds: int
    output_characters: int
    first_content_seconds: float
    """How long a round after the first may stay silent before its first content."""


async def converse(
    provider: Provider,
    model: str,
    messages: Sequence[dict[str, Any]],
    attempt_log: AttemptLog,
    answered: Answer,
    *,
    tools: Sequence[Mapping[str, Any]],
    own_tools: Mapping[str, Tool] = NO_TOOLS,
    bounds: Bounds,
    first_deadline: float,
    on_content: Callable[[], None] = lambda: None,
    asked: Asked | None = None,
) -> None:
    """Runs rounds until the model answers without calls; fills `answered` as it goes.

    The model is offered `tools`; calls are answered by `own_tools` where an application's kind has
    any, and else by the draft. `first_deadline` is the monotonic time by which the first content
    must have come; `on_content` is called, as often as may be, when some has. `asked` is where the
    first round's request went ahead. Raises GenerationFailed, or the provider's ProviderFailed.
    """
    talk = list(messages)
    for number in range(1, bounds.rounds + 1):
        request = ModelRequest(model=model, messages=talk, tools=tools)
        deadline = (
            first_deadline if number == 1 else time.monotonic() + bounds.first_content_seconds
        )
        about: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "relay.round": number,
        }
        with here().child(f"chat {model}", "client", about):
            text, calls, left_out = await _round(
                provider, request, attempt_log, answered, bounds, deadline, on_content, asked
            )
        if not calls:
            return
        talk.append(_assistant_message(text, calls))
        for call in calls:
            content = (
                await answer_own(call, own_tools, attempt_log)
                if own_tools
                else _take(call, attempt_log, answered)
            )
            talk.append({"role": "tool", "tool_call_id": call.id, "content": content})
        if left_out is not None:
            attempt_log.append("notice", left_out)
            # In the last answer, since not every endpoint takes another role here.
            told = {
                **json.loads(talk[-1]["content"]),
                "left_out": f"{left_out.message}: repeat them",
            }
            talk[-1]["content"] = json.dumps(told, ensure_ascii=False)
        if answered.finish_reason is not None and answered.finish_reason != "stop":
            return
    notice = Notice("rounds_exhausted", f"the model used all of its {bounds.rounds} rounds")
    attempt_log.append("notice", notice)


async def _round(
    provider: Provider,
    request: ModelRequest,
    attempt_log: AttemptLog,
    answered: Answer,
    bounds: Bounds,
    deadline: float,
    on_content: Callable[[], None],
    asked: Asked | None,
) -> tuple[str, list[ToolCall], Notice | None]:
    """The calls of one round, the text beside them, and what to say of too many calls."""
    assembler = ToolCallAssembler()
    # Where the round's text begins in the log, which holds it already.
    start: int | None = None

    def take(batch: Sequence[ModelEvent]) -> None:
        nonlocal start
        on_content()
        for event in batch:
            if isinstance(event, TextPiece):
                if start is None:
                    if attempt_log.characters:
                        attempt_log.append_text(BETWEEN_ROUNDS)
                    start = attempt_log.characters
                _append_text(event.text, attempt_log, answered, bounds)
            elif isinstance(event, CallPiece):
                _count(len(event.arguments or ""), answered, bounds)
                pieces = assembler.feed(event.index, event.id, event.name, event.arguments)
                # Without a draft there is no file, whatever a tool is called.
                for piece in pieces if answered.draft is not None else ():
                    attempt_log.append_file_delta(FileDelta(piece.path, piece.at, piece.text))
            elif isinstance(event, Finished):
                reason = event.finish_reason
                answered.finish_reason = reason if reason in _REPORTED_REASONS else None
                answered.add_usage(event.usage)
                here().set(_told(event))

    await provider.round(request, take, first_deadline=deadline, asked=asked)
    left_out = None
    if assembler.overflowed:
        left_out = Notice("too_many_calls", f"calls beyond {MAX_CALLS} in a round were left out")
    calls = assembler.finish()
    text = attempt_log.text[start:] if calls and start is not None else ""
    return text, calls, left_out


def _told(finished: Finished) -> Attributes:
    """What the model said of its round, by OpenTelemetry's names."""
    usage = finished.usage or Usage(0, 0)
    return {
        "gen_ai.response.finish_reasons": finished.finish_reason or "",
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }


def _append_text(text: str, attempt_log: AttemptLog, answered: Answer, bounds: Bounds) -> None:
    room = bounds.output_characters - answered.written
    attempt_log.append_text(text[: max(0, room)])
    _count(len(text), answered, bounds)


def _count(characters: int, answered: Answer, bounds: Bounds) -> None:
    answered.written += characters
    if answered.written > bounds.output_characters:
        raise GenerationFailed(
            "output_too_long",
            f"the model wrote more than {bounds.output_characters} characters",
            retryable=False,
        )


def _take(call: ToolCall, attempt_log: AttemptLog, answered: Answer) -> str:
    if answered.draft is None:
        outcome: Outcome = Refused("unknown_tool", "there are no tools in this conversation")
    else:
        answered.draft, outcome = answered.draft.take(call)
    match outcome:
        case FileWritten():
            change = FileChange(outcome.path, "write", outcome.bytes, outcome.sha256)
            attempt_log.append("file", change)
        case FileDeleted():
            change = FileChange(outcome.path, "delete", outcome.bytes, outcome.sha256)
            attempt_log.append("file", change)
        case SkillChosen():
            choice = SkillChoice(outcome.requested, outcome.matched, outcome.score)
            answered.skills.append(choice)
            attempt_log.append("skill", choice)
        case Refused():
            attempt_log.append("notice", Notice(outcome.code, outcome.message))
    return answer(outcome)


def _assistant_message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": text or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": _sent_name(call.name), "arguments": _sent(call.arguments)},
            }
            for call in calls
        ],
    }


def _sent_name(name: str) -> str:
    # Endpoints refuse the whole conversation over a name that no function can have.
    return _NO_FUNCTION_NAME.sub("_", name)[:_LONGEST_FUNCTION_NAME] or "_"


def _sent(arguments: str) -> str:
    """The arguments as they go back to the model: some endpoints parse them, and refuse others."""
    try:
        document = json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return "{}"
    if not isinstance(document, dict):
        return "{}"
    return clean_text(json.dumps(document, ensure_ascii=False))
