"""The one rule for a service that a machine lacks: a failure under CI, elsewhere one loud line."""

import os
from collections import Counter
from typing import NoReturn

import pytest
from _pytest.outcomes import Skipped

# How many tests were left out for want of each.
ABSENT: pytest.StashKey[Counter[str]] = pytest.StashKey()


class Absent(Skipped):
    """Leaves a test out for want of `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed")
        self.what = what


def under_ci() -> bool:
    """True where the outcome decides: nothing may be left out there."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def absent(what: str) -> NoReturn:
    """Leave the test out because `what` is not installed; under CI, fail it."""
    if under_ci():
        pytest.fail(f"{what} is not installed, and CI leaves nothing out", pytrace=False)
    raise Absent(what)
