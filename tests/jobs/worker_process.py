"""A worker as a process of its own, to be killed, frozen and asked to stop."""

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from jobs.settings import Settings
from tests.services import Child


def environment(settings: Settings, **changed: Any) -> dict[str, str]:
    """The variables that make these settings."""
    values = {**msgspec.to_builtins(settings), **{k.upper(): v for k, v in changed.items()}}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    return inherited | {name: str(value) for name, value in values.items() if value is not None}


def start_worker(settings: Settings, output: Path, **changed: Any) -> Child:
    """`python -m jobs` with these settings; what it prints goes to the file `output`."""
    return Child(
        [sys.executable, "-m", "jobs"], output=output, env=environment(settings, **changed)
    )
