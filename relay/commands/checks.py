"""What `doctor` looks at, each check by itself and bounded in time; and what is to be done."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]
CLOCK_SECONDS = 1.0
"""A larger difference shows, in the ends of tickets and tokens for instance."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do when it is not well."""

    check: str
    verdict: Verdict
    found: str
    advice: str | None = None


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works, and something about it may surprise."""
    return Finding(check, "warning", found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """It does not work, or loses what it should keep."""
    return Finding(check, "problem", found, advice)


def clock(check: str, seconds_ahead: float) -> Finding:
    """How a server's clock, so many seconds ahead of this machine's, is judged."""
    if abs(seconds_ahead) <= CLOCK_SECONDS:
        return ok(check, f"within {CLOCK_SECONDS:g} s of this machine's")
    side = "ahead of" if seconds_ahead > 0 else "behind"
    return warning(
        check,
        f"{abs(seconds_ahead):.1f} s {side} this machine's",
        "run a time service (NTP) on both machines",
    )
