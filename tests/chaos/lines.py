"""A conversation holds one active generation at a time, and what waits there runs in order.

Checked against all changes of its rows, in the database's order, and against what the requests that
met an active one were answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from tests.chaos.changes import Change
from tests.chaos.reader import TERMINAL
from tests.chaos.records import Asked, Told, Violation

CLOCKS_DIFFER = 0.05
AT_THE_SAME_TIME = 0.005
"""What was stored so soon after another may come before it: times are kept in milliseconds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not accepted: when it was asked and answered, and what it was told."""

    asked_at: float
    answered_at: float
    status: int
    problem: dict[str, Any]
    unsure: bool = False
    """It was asked before without an answer: that request may have come late and been accepted."""


@dataclass(slots=True)
class Line:
    """One conversation: what was accepted in it, and what was not."""

    conversation_id: str
    asked: list[Asked] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def line_violations(
    line: Line, changes: Sequence[Change], shown: dict[str, Any]
) -> list[Violation]:
    """Every rule that a conversation breaks, by its changes and by what is shown of it at last."""
    told = [
        *_of_changes(line, changes),
        *_of_refusals(line, changes),
        *_of_conversation(changes, shown),
    ]
    return [Violation(rule, line.conversation_id, detail) for rule, detail in told]


def _of_changes(line: Line, changes: Sequence[Change]) -> Told:
    asked = {one.id: one for one in line.asked}
    stored_at: dict[str, float] = {}
    rows: dict[str, Change] = {}
    for change in changes:
        before = rows.get(change.generation_id)
        others = [one for one in rows.values() if one.generation_id != change.generation_id]
        if before is None:
            stored_at[change.generation_id] = change.at
            yield from _of_stored(asked.get(change.generation_id), change, others)
        elif before.attempt == 0 and change.attempt:
            yield from _of_first_claim(change, others, stored_at)
        rows[change.generation_id] = change
        active = [one for one in rows.values() if one.active]
        if len(active) > 1:
            yield "one active generation a conversation", f"{active}"
        if change.state == "running" and not change.active:
            yield "only the active one runs", f"{change}"
    unsure = sum(one.unsure for one in line.refusals)
    if not asked.keys() <= rows.keys() or len(rows) > len(asked) + unsure:
        yield "what was accepted is stored, and nothing else", f"{sorted(rows)}, {sorted(asked)}"


def _of_stored(asked: Asked | None, change: Change, others: Sequence[Change]) -> Told:
    """What was found in its conversation by the one that was stored just now."""
    active = [one for one in others if one.active]
    if change.active == bool(active):
        yield "it waits where another is active, and else not", f"{change} beside {active}"
    if asked is None:
        return
    if asked.on_active == "reject" and active:
        yield "nothing is accepted beside an active one that did not ask for it", f"{active}"
    if asked.on_active == "interrupt":
        for one in others:
            if one.state not in TERMINAL and not (one.state == "running" and one.cancel_requested):
                yield "who interrupts cancels all that is before it", f"{change} beside {one}"


def _of_first_claim(change: Change, others: Sequence[Change], stored_at: dict[str, float]) -> Told:
    """Who should have run before the one that began just now."""
    mine = stored_at[change.generation_id] - AT_THE_SAME_TIME
    for one in others:
        if one.state not in TERMINAL and stored_at[one.generation_id] < mine:
            yield "what waits runs in order, after what was before it", f"{change} before {one}"


def _of_refusals(line: Line, changes: Sequence[Change]) -> Told:
    for one in line.refusals:
        met = one.problem.get("generation_id")
        if (one.status, one.problem.get("code")) != (409, "generation_active"):
            yield "who may not wait is told of the active one", f"{one}"
        elif not _was_active(str(met), changes, one):
            yield "a refusal names the one that was active", f"{one}: {changes}"


def _was_active(generation_id: str, changes: Sequence[Change], refusal: Refusal) -> bool:
    """Whether it was so at any time between the request and its answer."""
    mine = [one for one in changes if one.generation_id == generation_id]
    ends = [one.at for one in mine[1:]] + [float("inf")]
    return any(
        one.active
        and one.at <= refusal.answered_at + CLOCKS_DIFFER
        and until >= refusal.asked_at - CLOCKS_DIFFER
        for one, until in zip(mine, ends, strict=False)
    )


def _of_conversation(changes: Sequence[Change], shown: dict[str, Any]) -> Told:
    """Its turns are those of what became active, in this order, each user's before its answer."""
    became_active = list(dict.fromkeys(one.generation_id for one in changes if one.active))
    turns = [(one["generation_id"], one["role"]) for one in shown["turns"]]
    spoke = [(id_, [role for _, role in own]) for id_, own in groupby(turns, lambda one: one[0])]
    if [id_ for id_, _ in spoke] != became_active:
        yield "turns come in the order of their generations", f"{turns}, {became_active}"
    if any(roles not in (["user"], ["user", "assistant"]) for _, roles in spoke):
        yield "a user's turn comes before its answer", f"{turns}"
    if shown["active_generation"] is not None or shown["waiting"]:
        yield "nobody waits or is active when all have ended", f"{shown}"
