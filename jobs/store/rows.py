"""How a stored generation becomes the resource that readers are shown (protocol §4)."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, FromClause, Row, and_, literal_column, select

from jobs.generation import (
    Failure,
    FileChange,
    Generation,
    Kind,
    Output,
    SkillChoice,
    State,
    Usage,
    events_url,
    rfc3339,
)
from jobs.tables import ACTIVE, RUNNING, UNFINISHED, generations, turns

AnyRow = Row[*tuple[Any, ...]]
"""A row whatever its columns."""

IS_ACTIVE: ColumnElement[bool] = literal_column(f"generations.{ACTIVE}")
"""Holds its conversation's active place; the words of the unique index."""

IS_UNFINISHED: ColumnElement[bool] = literal_column(f"generations.{UNFINISHED}")
"""Queued or running; the words of the partial indexes."""

IS_RUNNING: ColumnElement[bool] = literal_column(f"generations.{RUNNING}")
"""The words of the partial index."""

ROW = (
    generations.c.id,
    generations.c.owner,
    generations.c.kind,
    generations.c.state,
    generations.c.attempt,
    generations.c.model,
    generations.c.conversation_id,
    generations.c.persona_id,
    generations.c.input,
    generations.c.finish_reason,
    generations.c.persona_version,
    generations.c.files,
    generations.c.skills,
    generations.c.input_tokens,
    generations.c.output_tokens,
    generations.c.error_code,
    generations.c.error_message,
    generations.c.error_retryable,
    generations.c.created_at,
    generations.c.started_at,
    generations.c.finished_at,
    generations.c.expires_at,
)
"""The columns of a generation that its resource is made of; the text is its assistant turn's."""

WITH_ANSWER: FromClause = generations.outerjoin(
    turns, and_(turns.c.generation_id == generations.c.id, turns.c.role == "assistant")
)
"""Generations with their assistant turn, if there is one."""

SELECT_RESOURCE = select(*ROW, turns.c.text.label("answer")).select_from(WITH_ANSWER)
"""Everything `generation_of` needs, to be narrowed by whoever asks."""


def generation_of(row: AnyRow, answer: str | None) -> Generation:
    """The resource of this row; `answer` is its assistant turn's text, None when it has none."""
    output = None
    if answer is not None:
        output = Output(
            characters=len(answer),
            finish_reason=row.finish_reason,
            persona_version=row.persona_version,
            files=msgspec.convert(row.files or [], tuple[FileChange, ...]),
            skills=msgspec.convert(row.skills or [], tuple[SkillChoice, ...]),
            text=answer,
        )
    usage = None
    if row.input_tokens is not None or row.output_tokens is not None:
        usage = Usage(row.input_tokens or 0, row.output_tokens or 0)
    error = None
    if row.error_code is not None:
        error = Failure(row.error_code, row.error_message or "", bool(row.error_retryable))
    return Generation(
        id=row.id,
        kind=Kind(row.kind),
        state=State(row.state),
        attempt=row.attempt,
        model=row.model,
        conversation_id=row.conversation_id,
        persona_id=row.persona_id,
        input=row.input,
        output=output,
        usage=usage,
        error=error,
        created_at=rfc3339(row.created_at),
        started_at=time_or_none(row.started_at),
        finished_at=time_or_none(row.finished_at),
        expires_at=rfc3339(row.expires_at),
        events_url=events_url(row.id),
    )


def time_or_none(milliseconds: int | None) -> str | None:
    """A nullable time of a row as RFC 3339."""
    return None if milliseconds is None else rfc3339(milliseconds)
