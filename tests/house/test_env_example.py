"""`.env.example` lists every variable that the program reads, once, with its true default."""

import re
from pathlib import Path

import msgspec

from jobs.settings import Settings
from relay.settings import RelaySettings

ROOT = Path(__file__).parents[2]


def defaults() -> dict[str, str]:
    """Give the variables that the settings read, each with its default as one would write it."""
    return {
        field.encode_name: shown(field.default)
        for kind in (Settings, RelaySettings)
        for field in msgspec.structs.fields(kind)
        if field.encode_name != "JOBS"
    }


def shown(value: object) -> str:
    """Write a default as an environment variable: unset is empty, whole numbers without a point."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_example_holds_each_variable_once_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = re.findall(r"^#([A-Z_]+)=(.*)$", text, flags=re.MULTILINE)
    assert len(listed) == len(dict(listed))
    assert dict(listed) == defaults()


def test_the_example_sets_nothing_until_it_is_edited() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
