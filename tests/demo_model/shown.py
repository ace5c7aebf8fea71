"""Notes which parts of the grammar the tests play."""

from collections.abc import Callable
from typing import TypeVar

SHOWN: set[str] = set()
Test = TypeVar("Test", bound=Callable[..., object])


def shows(form: str) -> Callable[[Test], Test]:
    """Mark a test as the one that proves what the page says of this part."""

    def keep(test: Test) -> Test:
        SHOWN.add(form)
        return test

    return keep
