"""Appends of short frames that say where they belong, and what became of them."""

import asyncio
from collections.abc import Sequence

from jobs.direct_log import DirectLog
from jobs.stream_log import (
    Append,
    Appended,
    Message,
    Outcome,
)
from tests.jobs.log_rig import NAME, Rig
from tests.services import eventually

TTL = 60_000
APPLIED, THERE, STALE, GAP = (
    Outcome.APPLIED,
    Outcome.ALREADY_THERE,
    Outcome.STALE,
    Outcome.GAP,
)


def frames(first: int, last: int, attempt: int = 1) -> list[bytes]:
    return [b"<%d-%d>" % (attempt, seq) for seq in range(first, last + 1)]


def append(first: int, last: int, attempt: int = 1, name: str = NAME) -> Append:
    return Append(name, attempt, first, frames(first, last, attempt), TTL)


def look(seq: int, attempt: int = 1, name: str = NAME, *, announce: bool = False) -> Append:
    return Append(name, attempt, seq + 1, (), TTL, announce=announce)


async def one(rig: Rig, wanted: Append) -> tuple[Outcome, int, int]:
    [answer] = await rig.stream_log.append([wanted])
    return answer.outcome, answer.attempt, answer.seq


async def sent(log: DirectLog, appends: Sequence[Append]) -> list[Appended]:
    """The answers to one flush; raises what there was instead."""
    answered: asyncio.Future[list[Appended] | Exception] = (
        asyncio.get_running_loop().create_future()
    )
    log.send(appends, answered.set_result)
    answers = await answered
    if isinstance(answers, Exception):
        raise answers
    return answers


async def told(rig: Rig, messages: list[Message]) -> list[Message]:
    """All that was published so far: a last message of the test's own comes after it."""
    await rig.stream_log.look(NAME)
    await eventually(lambda: bool(messages) and messages[-1].attempt == 0)
    found = messages[:-1]
    messages.clear()
    return found
