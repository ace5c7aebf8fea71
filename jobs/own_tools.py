"""The tools of an application's kind: every call is answered to the model, whatever they do."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.attempt_log import AttemptLog
from jobs.events import Notice
from jobs.kinds import Tool
from persona_apply import Refused, ToolCall, answer, clean_text

log = logging.getLogger(__name__)

LONGEST_ANSWER_CHARACTERS = 100_000


def schemas_of(tools: Sequence[Tool]) -> tuple[dict[str, Any], ...]:
    """These tools in the form of the chat-completions API."""
    return tuple(
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    )


async def answer_own(call: ToolCall, tools: Mapping[str, Tool], attempt_log: AttemptLog) -> str:
    """What the model is told of this call; one that came to nothing leaves a `notice`."""
    outcome = await _run(call, tools)
    if isinstance(outcome, str):
        told = clean_text(outcome)[:LONGEST_ANSWER_CHARACTERS]
        return json.dumps({"ok": True, "result": told}, ensure_ascii=False)
    attempt_log.append("notice", Notice(outcome.code, outcome.message))
    return answer(outcome)


async def _run(call: ToolCall, tools: Mapping[str, Tool]) -> str | Refused:
    tool = tools.get(call.name)
    if tool is None:
        return Refused("unknown_tool", "there is no tool of this name")
    try:
        arguments = json.loads(call.arguments or "{}", strict=False)
    except (ValueError, RecursionError):
        return Refused("invalid_json", "the arguments are not JSON")
    if not isinstance(arguments, dict):
        return Refused("not_an_object", "the arguments must be a JSON object")
    try:
        return await tool.run(arguments)
    except Exception:
        log.exception("a tool failed", extra={"tool": tool.name})
        return Refused("tool_failed", "the tool failed")
