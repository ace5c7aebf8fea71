"""How the rows of generations came to be what they are: every change, in the database's order."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A row as one statement left it, and when (monotonic)."""

    generation_id: str
    conversation_id: str
    at: float
    state: str
    attempt: int
    active: bool
    worker_id: str
    """Who holds it; empty where nobody does."""
    reset: str | None
    """Why the newest attempt's events open with a reset."""
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The beginning of an attempt: when, by whom, and why it is not the first one."""

    attempt: int
    at: float
    worker_id: str
    reset: str | None


def claims_of(changes: Iterable[Change]) -> list[Claim]:
    """The attempts of one generation, by its changes."""
    claims: list[Claim] = []
    attempt = 0
    for one in changes:
        if one.attempt != attempt:
            attempt = one.attempt
            claims.append(Claim(attempt, one.at, one.worker_id, one.reset))
    return claims
