"""The course of one answer: which bytes are sent after how many tokens, and how it ends.

Pure: `streamed` and `whole` say what happens, step by step; server.py lets it happen in time.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from . import wire
from .answers import Answer, CallStart, Delta
from .script import Fault


class Ending(enum.Enum):
    """How an answer ends that does not end well."""

    SILENCE = "silence"
    COMMENTS = "comments"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to be written once the time of so many tokens has passed."""

    tokens: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer with the fault that befalls it, its token limit and the tokens of its prompt."""

    answer: Answer
    fault: Fault | None
    after: int
    limit: int | None
    prompt_tokens: int
    include_usage: bool = False


def streamed(plan: Plan, frames: wire.Frames) -> Iterator[Step | Ending]:
    """The steps of a streamed answer; a clean end of the body follows, unless an Ending does."""
    pending = None if plan.fault is Fault.NO_DONE else plan.fault
    finish = plan.answer.finish
    opened, written = False, 0
    for delta in plan.answer.deltas:
        is_token = not isinstance(delta, CallStart)
        if pending is not None and written >= plan.after:
            if pending is not Fault.BAD_JSON:
                yield from _failing(pending, frames, frames.delta(delta))
                return
            if is_token:
                yield Step(1, frames.malformed())
                pending = None
                continue
        if plan.limit is not None and written >= plan.limit:
            finish = "length"
            break
        if not opened:
            yield Step(0, frames.role())
            opened = True
        yield Step(int(is_token), frames.delta(delta))
        written += is_token
    if pending is Fault.BAD_JSON:
        yield Step(0, frames.malformed())
    elif pending is not None:
        yield from _failing(pending, frames, frames.finish(finish))
        return
    if not opened:
        yield Step(0, frames.role())
    yield Step(0, frames.finish(finish))
    if plan.fault is Fault.NO_DONE:
        return
    if plan.include_usage:
        yield Step(0, frames.usage(wire.Usage(plan.prompt_tokens, written)))
    yield Step(0, frames.done())


def _failing(fault: Fault, frames: wire.Frames, due: bytes) -> Iterator[Step | Ending]:
    """The end by this fault, in place of the frame that was due."""
    match fault:
        case Fault.SILENT:
            yield Ending.SILENCE
        case Fault.COMMENTS:
            yield Ending.COMMENTS
        case Fault.BROKEN:
            yield Step(1, due[: len(due) // 2])
            yield Ending.DROP
        case Fault.ERROR_EVENT:
            yield Step(1, frames.error())


def whole(plan: Plan, id: str, created: int, model: str) -> Iterator[Step | Ending]:
    """The steps of an answer in one piece, which takes as long as a streamed one.

    A fault shows in the body: it never comes, is cut in half, is no JSON or is an error.
    """
    deltas, written, finish = _limited(plan)
    usage = wire.Usage(plan.prompt_tokens, written)
    body = wire.completion(id, created, model, deltas, finish, usage)
    match plan.fault:
        case Fault.SILENT | Fault.COMMENTS:
            yield Ending.SILENCE
        case Fault.BROKEN:
            yield Step(written, body[: len(body) // 2])
            yield Ending.DROP
        case Fault.TRUNCATED | Fault.BAD_JSON:
            yield Step(written, body[: len(body) // 2])
        case Fault.ERROR_EVENT:
            yield Step(written, wire.error_body(*wire.SCRIPTED_ERROR))
        case _:
            yield Step(written, body)


def _limited(plan: Plan) -> tuple[list[Delta], int, str]:
    """The deltas within the token limit, their tokens, and the finish reason."""
    kept: list[Delta] = []
    written = 0
    for delta in plan.answer.deltas:
        if plan.limit is not None and written >= plan.limit:
            return kept, written, "length"
        kept.append(delta)
        written += not isinstance(delta, CallStart)
    return kept, written, plan.answer.finish
