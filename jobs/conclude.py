"""The one outcome of an attempt: its state, its text, and what it changes."""

from collections.abc import Mapping
from typing import Literal

from jobs.attempt_log import AttemptLog
from jobs.converse import Answer
from jobs.generation import Failure, FileChange, Kind, State
from jobs.store.commits import Outcome, PersonaChange
from persona_apply import Changes, Persona, digest


def conclude(
    kind: Kind,
    attempt_log: AttemptLog,
    answered: Answer,
    cut: Failure | Literal["cancelled"] | None,
) -> Outcome:
    """The one outcome of an attempt: its state, its text, and what it changes.

    `cut` is why the rounds did not end in an answer; without it the answer itself may lack
    something. Only what completes has files, skills and a change.
    """
    end = attempt_log.close()
    text = attempt_log.text
    draft = answered.draft
    changes = draft.changes() if draft is not None and cut is None else None
    lacking = _lacking(kind, text, changes) if cut is None else None
    completed = cut is None and lacking is None
    kept = changes if completed else None
    return Outcome(
        state=(
            State.COMPLETED
            if completed
            else State.CANCELLED
            if cut == "cancelled"
            else State.FAILED
        ),
        text=text,
        timeline=attempt_log.timeline(),
        last_seq=end.seq,
        last_offset=end.offset,
        finish_reason=answered.finish_reason,
        usage=answered.usage,
        error=cut if isinstance(cut, Failure) else lacking,
        files=() if draft is None or kept is None else file_changes(draft.base, kept),
        skills=tuple(answered.skills) if completed else (),
        change=None if kept is None else _persona_change(kept),
    )


def _lacking(kind: Kind, text: str, changes: Changes | None) -> Failure | None:
    if kind is Kind.GENERATE and (changes is None or not changes.written):
        return Failure("no_files", "the model wrote no valid file", True)
    if not text and changes is None:
        return Failure("empty_answer", "the model gave neither text nor a change", True)
    return None


def file_changes(base: Persona, changes: Changes) -> tuple[FileChange, ...]:
    """What the attempt did to the persona's files, in path order."""
    written = [_file_change(path, "write", changes.persona.files) for path in changes.written]
    deleted = [_file_change(path, "delete", base.files) for path in changes.deleted]
    return tuple(sorted([*written, *deleted], key=lambda change: change.path))


def _file_change(path: str, op: Literal["write", "delete"], files: Mapping[str, str]) -> FileChange:
    content = files[path]
    return FileChange(path, op, len(content.encode()), digest(content))


def _persona_change(changes: Changes) -> PersonaChange:
    return PersonaChange(
        written={path: changes.persona.files[path] for path in changes.written},
        deleted=changes.deleted,
        skills=changes.persona.skills,
        derived=changes.derived,
    )
