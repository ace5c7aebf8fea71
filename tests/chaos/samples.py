"""Histories made by hand, for the tests of the checker: one whole answer, and what befell it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import aiohttp

from tests.chaos.changes import Change
from tests.chaos.history import violations
from tests.chaos.reader import Reader, Seen
from tests.chaos.records import Asked, Disturbance, Truth
from tests.relay.heard import Heard, heard

ID = "gen_1"
WORKERS = ("wrk_1", "wrk_2", "wrk_3")
MAX_ATTEMPTS = 2


def event(id_: str, name: str, **data: Any) -> Heard:
    [made] = heard([f"event: {name}\ndata: {json.dumps(data)}\nid: {id_}\n\n".encode()])
    return made


def status(attempt: int = 1, seq: int = 1) -> Heard:
    return event(f"{attempt}.{seq}.0", "status", state="running", attempt=attempt)


def resource(state: str = "completed", text: str = "Hello you", **more: Any) -> dict[str, Any]:
    output = {"text": text} if text else None
    return {"state": state, "attempt": 1, "output": output, "error": None, **more}


def end(id_: str, state: str = "completed") -> Heard:
    return event(id_, state, generation={"state": state, "output": {"characters": 9}})


WHOLE = [
    status(),
    event("1.2.6", "token", text="Hello "),
    event("1.3.9", "token", text="you"),
    end("1.4.9"),
]
TURNS = [("user", "Hi", False), ("assistant", "Hello you", False)]


def second_attempt(reason: str = "worker_lost") -> list[Heard]:
    return [
        event("2.1.0", "reset", reason=reason, attempt=2),
        status(2, 2),
        event("2.3.9", "token", text="Hello you"),
        end("2.4.9"),
    ]


Begun = tuple[float, str, str | None]
"""An attempt: when it was claimed, by whom, and why it is not the first."""
FIRST: Begun = (0.0, "wrk_1", None)


def stored(
    state: str = "completed",
    attempts: Sequence[Begun] = (FIRST,),
    ended_at: float = 3.0,
    cancelled_at: float | None = None,
) -> tuple[Change, ...]:
    """How the row came to be what it is."""
    row = Change(ID, "con_1", -0.5, "queued", 0, True, "", None, False)
    changes = [row]
    for number, (at, worker, reset) in enumerate(attempts, start=1):
        row = replace(row, at=at, state="running", attempt=number, worker_id=worker, reset=reset)
        changes.append(row)
    changes.append(replace(row, at=ended_at, state=state, active=False))
    if cancelled_at is None:
        return tuple(changes)
    before = [one for one in changes if one.at <= cancelled_at]
    asked = replace(before[-1], at=cancelled_at, cancel_requested=True)
    after = [replace(one, cancel_requested=True) for one in changes if one.at > cancelled_at]
    return (*before, asked, *after)


def told(events: list[Heard]) -> Reader:
    """A reader that heard of one a second; it never connects."""
    reader = Reader(cast(aiohttp.ClientSession, None), lambda: "", ID)
    reader.seen = [Seen(float(at), 1, one) for at, one in enumerate(events)]
    return reader


def rules_broken(asked: Asked, truth: Truth, struck: Sequence[Disturbance] = ()) -> set[str]:
    """The rules that this history breaks; its row has one attempt unless the truth says else."""
    if not truth.changes:
        truth = replace(truth, changes=stored(truth.state))
    found = violations(asked, truth, struck, workers=WORKERS, max_attempts=MAX_ATTEMPTS)
    return {one.rule for one in found}


def broken(
    events: list[Heard] | None = None,
    *,
    truth: Truth | None = None,
    struck: Sequence[Disturbance] = (),
    **asked: Any,
) -> set[str]:
    """The same, of one reader that was told these events."""
    one = Asked(ID, "demo", 0.0, **asked)
    one.readers = [told(WHOLE if events is None else events)]
    return rules_broken(one, truth or Truth(resource(), TURNS, WHOLE, WHOLE), struck)
