"""Reads the answer that a message dictates: JSON with the text and calls of every round."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Round:
    """One dictated answer: text, calls as (name, arguments as JSON text), finish reason."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str | None = None


def dictated_round(message: str, number: int) -> Round | None:
    """Round `number` (from 1) of the first JSON object in the message; None when there is none.

    A round beyond those dictated says nothing and stops.
    """
    start = message.find("{")
    if start < 0:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(message, start)
    except (ValueError, RecursionError):
        return None
    rounds = document.get("rounds") if isinstance(document, dict) else None
    if not isinstance(rounds, list) or not all(isinstance(said, dict) for said in rounds):
        return None
    return _round(rounds[number - 1]) if number <= len(rounds) else Round()


def _round(said: dict[str, object]) -> Round:
    text, calls, finish = said.get("text", ""), said.get("calls", []), said.get("finish")
    return Round(
        text if isinstance(text, str) else "",
        tuple(_call(call) for call in calls if isinstance(call, dict))
        if isinstance(calls, list)
        else (),
        finish if isinstance(finish, str) else None,
    )


def _call(call: dict[str, object]) -> tuple[str, str]:
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return str(call.get("name", "")), text
