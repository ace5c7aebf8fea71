"""Records, and directories that hold them, for the tests of the journal."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from jobs.journal import Journal, JournalRecord
from jobs.journal_view import FILE_NAME


def record(number: int, payload: dict[str, Any] | None = None) -> JournalRecord:
    """The record of a generation of this number; lines without a payload are equally long."""
    return JournalRecord(
        event_id=f"gen_{number:06d}:1",
        generation_id=f"gen_{number:06d}",
        attempt=1,
        written_at="2026-01-02T03:04:05.678Z",
        payload={} if payload is None else payload,
    )


def written(directory: Path, records: Iterable[JournalRecord]) -> Path:
    """Appends the records to the journal in this directory and returns its file."""
    with Journal.open(directory, "off") as journal:
        for one in records:
            journal.append(one)
    return directory / FILE_NAME


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
payloads = st.dictionaries(
    texts,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
