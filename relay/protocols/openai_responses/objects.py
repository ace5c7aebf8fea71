"""Responses and their items as the openai SDK validates them, made from the generation alone."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from jobs.errors import NotFound
from jobs.generation import FileChange, Generation, SkillChoice, State, encode
from jobs.store.protocols import Begun

PROTOCOL = "openai_responses"

Json = dict[str, Any]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]

_PREFIX = "resp_"
_GENERATION = "gen_"
_ID = re.compile(r"resp_[0-9a-z]{26}", re.ASCII)

# What the model's own limits are called here; any other reason completes.
_CUT_BY = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseNotFound(NotFound):
    """There is no such response for this owner, or it was deleted."""

    def __init__(self, response_id: str) -> None:
        super().__init__(response_id)
        self.args = (f"Response with id '{response_id}' not found.",)


def response_id(generation_id: str) -> str:
    """The response that this generation is."""
    return _PREFIX + generation_id.removeprefix(_GENERATION)


def generation_id(response: str) -> str:
    """The generation that this response is; ResponseNotFound for what can't be one."""
    if not _ID.fullmatch(response):
        raise ResponseNotFound(response)
    return _GENERATION + response.removeprefix(_PREFIX)


def status_of(generation: Generation) -> Status:
    """Where the generation stands, in this protocol's words."""
    match generation.state:
        case State.QUEUED:
            return "queued"
        case State.RUNNING:
            return "in_progress"
        case State.CANCELLED:
            return "cancelled"
        case State.FAILED | State.EXPIRED:
            return "failed"
    return "incomplete" if _cut_by(generation) else "completed"


def response_object(begun: Begun, status: Status, output: Sequence[Json] = ()) -> Json:
    """The response; all but what `status` says of its end is the same at any time.

    What only shapes the model is not offered here, and given as the API's own default.
    """
    generation, asked = begun.generation, begun.asked
    ended = status not in ("queued", "in_progress")
    return {
        "id": response_id(generation.id),
        "object": "response",
        "created_at": _seconds(generation.created_at),
        "status": status,
        "background": asked["background"],
        "completed_at": _seconds(generation.finished_at) if status == "completed" else None,
        "error": _error(generation) if status == "failed" else None,
        "frequency_penalty": 0.0,
        "incomplete_details": _cut_by(generation) if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": asked["metadata"],
        "model": generation.model,
        "output": list(output),
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": asked["previous_response_id"],
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(generation) if ended else None,
        "user": None,
    }


def message_item(generation: str, index: int, status: str, text: str | None = None) -> Json:
    """The assistant's message at this place of the output; without text it has just begun."""
    return {
        "id": f"msg_{_ulid(generation)}_{index}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [text_part(text)],
    }


def text_part(text: str) -> Json:
    """A message's one part."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(generation: str, index: int, change: FileChange | SkillChoice) -> Json:
    """What the model did to its persona, as the call that did it.

    A file's content is not repeated: it is the persona's, under its path.
    """
    if isinstance(change, SkillChoice):
        name = "use_skill"
        arguments: Mapping[str, Any] = {"name": change.requested, "matched": change.matched}
    else:
        name = f"{change.op}_file"
        arguments = {"path": change.path}
        if change.op == "write":
            arguments = {"path": change.path, "bytes": change.bytes, "sha256": change.sha256}
    return {
        "id": f"fc_{_ulid(generation)}_{index}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{_ulid(generation)}_{index}",
        "name": name,
        "arguments": encode(arguments).decode(),
    }


def input_item(generation: Generation) -> Json:
    """What the generation was asked."""
    return {
        "id": f"msg_{_ulid(generation.id)}_input",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": generation.input}],
    }


def _ulid(generation: str) -> str:
    return generation.removeprefix(_GENERATION)


def _cut_by(generation: Generation) -> Json | None:
    output = generation.output
    if output is None or output.finish_reason not in _CUT_BY:
        return None
    return {"reason": _CUT_BY[output.finish_reason]}


def _error(generation: Generation) -> Json:
    # The SDK knows a closed list of codes; the relay's own stands in the message.
    error = generation.error
    message = "it did not complete" if error is None else f"{error.code}: {error.message}"
    return {"code": "server_error", "message": message}


def _usage(generation: Generation) -> Json | None:
    usage = generation.usage
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _seconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp())
