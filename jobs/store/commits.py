"""The end of a generation: one fenced transaction, and the next in line takes its place."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Boolean, String, bindparam, case, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import CommitUnknown, Database, now_ms
from jobs.database_errors import DRIVER_ERRORS, GivenUp, NotTaken, is_of_the_value
from jobs.errors import NotFound, Unavailable
from jobs.generation import Failure, FileChange, Generation, SkillChoice, State, Usage
from jobs.kinds import NO_OTHERS, Kinds
from jobs.store.completing import complete
from jobs.store.line import NEVER_RAN_SEQ, add_turn, lock_line, promote
from jobs.store.persona_changes import PersonaChange, store_change
from jobs.store.rows import ROW, SELECT_RESOURCE, AnyRow, generation_of
from jobs.tables import generations, personas

__all__ = [
    "CancelOutcome",
    "Committed",
    "Outcome",
    "PersonaChange",
    "commit",
    "request_cancel",
    "without_text",
]

# An unknown commit is looked into for some five seconds.
_PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0, 1.5, 1.5)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt came to. `last_seq` and `last_offset` are the terminal event's."""

    state: State
    text: str
    timeline: bytes
    last_seq: int
    last_offset: int
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Failure | None = None
    files: tuple[FileChange, ...] = ()
    skills: tuple[SkillChoice, ...] = ()
    change: PersonaChange | None = None


def without_text(outcome: Outcome) -> Outcome:
    """It without what its readers were shown, for a database that can't hold that text."""
    return msgspec.structs.replace(outcome, text="")


class Committed(msgspec.Struct, frozen=True):
    """The ended generation with its text, and the waiting one that became active, if any.

    The promoted one is to be enqueued with attempt 0.
    """

    generation: Generation
    promoted: str | None
    owner: str
    """Whose generation it is: whom the change is announced to."""


class CancelOutcome(msgspec.Struct, frozen=True):
    """What asking for a cancellation did: `ended_now` when the generation was still queued."""

    generation: Generation
    ended_now: bool
    promoted: str | None


_COMMIT = (
    update(generations)
    .where(
        generations.c.id == bindparam("generation"),
        generations.c.attempt == bindparam("claimed"),
        generations.c.state == "running",
    )
    .values(
        state=bindparam("end"),
        active=False,
        finished_at=now_ms(),
        last_seq=bindparam("seq"),
        last_offset=bindparam("offset"),
        timeline=bindparam("events"),
        finish_reason=bindparam("reason"),
        persona_version=case(
            (
                bindparam("changes", type_=Boolean),
                select(personas.c.version + 1)
                .where(personas.c.id == generations.c.persona_id, personas.c.deleted_at.is_(None))
                .correlate(generations)
                .scalar_subquery(),
            ),
            else_=null(),
        ),
        files=bindparam("file_list", type_=generations.c.files.type),
        skills=bindparam("skill_list", type_=generations.c.skills.type),
        input_tokens=bindparam("tokens_in"),
        output_tokens=bindparam("tokens_out"),
        error_code=bindparam("code"),
        error_message=bindparam("message"),
        error_retryable=bindparam("retryable"),
    )
    .returning(*ROW)
)
_CANCEL_QUEUED = (
    update(generations)
    .where(generations.c.id == bindparam("generation"), generations.c.state == "queued")
    .values(
        state="cancelled",
        active=False,
        finished_at=now_ms(),
        last_seq=NEVER_RAN_SEQ,
        last_offset=0,
    )
    .returning(*ROW)
)
_ASK_TO_STOP = (
    update(generations)
    .where(generations.c.id == bindparam("generation"), generations.c.state == "running")
    .values(cancel_requested=True)
)
_RESOURCE = SELECT_RESOURCE.where(generations.c.id == bindparam("generation"))
_OWNED = select(generations.c.id).where(
    generations.c.id == bindparam("generation"),
    or_(bindparam("owner", type_=String).is_(None), generations.c.owner == bindparam("owner")),
)


async def commit(
    db: Database,
    generation_id: str,
    attempt: int,
    outcome: Outcome,
    *,
    kinds: Kinds = NO_OTHERS,
    may_be_stored: bool = False,
) -> Committed | None:
    """Ends a running generation: all of its outcome, or nothing, under the fence of its attempt.

    None when it was fenced off: a newer attempt has it, or it has ended. The answer is kept as a
    turn when the generation completed, and otherwise when there is text; the persona's next
    version is made unless the persona was deleted. The next waiting generation becomes active.
    What a kind of `kinds` writes when it completes is of the same transaction.

    Raises Unavailable (nothing was stored), CommitUnknown when the database did not tell in some
    five seconds whether it was, GivenUp at once, or NotTaken where it takes no such commit until
    somebody mends it; the same call again with `may_be_stored` is then safe, and gives what an
    earlier one did store. Any other error is of this outcome: KindUnknown for a completed one of
    another kind, CompletionFailed, and what the database says of its values.
    """
    parameters = _commit_parameters(generation_id, attempt, outcome)
    promoted: str | None = None
    unknown = may_be_stored

    async def end(connection: AsyncConnection) -> Committed | None:
        nonlocal promoted
        await lock_line(connection, generation_id=generation_id)
        row = (await connection.execute(_COMMIT, parameters)).first()
        if row is None:
            return await _stored_before(connection) if unknown else None
        answer = await _keep_answer(connection, row, outcome)
        if outcome.change is not None and row.persona_version is not None:
            await store_change(connection, row, outcome.change)
        promoted = await promote(connection, row.conversation_id)
        committed = Committed(generation_of(row, answer), promoted, row.owner)
        if outcome.state is State.COMPLETED:
            # Last: code of others could end the transaction, and must not leave half of it.
            await complete(connection, kinds, row.owner, committed.generation, outcome.text)
        return committed

    async def _stored_before(connection: AsyncConnection) -> Committed | None:
        # Nobody but this attempt can have ended it under its own number, if otherwise at times:
        # as failed, where the database could not take its answer.
        row = (await connection.execute(_RESOURCE, {"generation": generation_id})).first()
        if row is None or row.attempt != attempt or row.state != outcome.state.value:
            return None
        return Committed(generation_of(row, row.answer), promoted, row.owner)

    # Code of others may await anything, which needs the loop.
    write = db.write if kinds.write_with_answers else db.write_at_once
    pauses = iter(_PAUSES_SECONDS)
    while True:
        try:
            return await write(end)
        except GivenUp:
            raise
        except CommitUnknown:
            unknown = True
        except Unavailable:
            if not unknown:
                raise
        except DRIVER_ERRORS as error:
            if is_of_the_value(error):
                raise
            raise NotTaken(error) from error
        if (pause := next(pauses, None)) is None:
            raise CommitUnknown
        await asyncio.sleep(pause)


async def request_cancel(db: Database, owner: str | None, generation_id: str) -> CancelOutcome:
    """Ends a queued generation as cancelled, asks a running one to stop, leaves an ended one.

    `owner` None asks for whoever's. Raises NotFound, Unavailable and CommitUnknown; asking again
    is harmless.
    """

    async def ask(connection: AsyncConnection) -> CancelOutcome:
        mine = {"generation": generation_id, "owner": owner}
        if (await connection.execute(_OWNED, mine)).first() is None:
            raise NotFound(generation_id)
        ended = await _cancel_queued(connection, generation_id)
        if ended is not None:
            return CancelOutcome(ended.generation, True, ended.promoted)
        # Without the owner, which is a column too and would be set by it.
        await connection.execute(_ASK_TO_STOP, {"generation": generation_id})
        row = (await connection.execute(_RESOURCE, mine)).one()
        return CancelOutcome(generation_of(row, row.answer), False, None)

    return await db.write_at_once(ask)


async def _cancel_queued(connection: AsyncConnection, generation_id: str) -> Committed | None:
    await lock_line(connection, generation_id=generation_id)
    row = (await connection.execute(_CANCEL_QUEUED, {"generation": generation_id})).first()
    if row is None:
        return None
    promoted = await promote(connection, row.conversation_id)
    return Committed(generation_of(row, None), promoted, row.owner)


async def _keep_answer(connection: AsyncConnection, row: AnyRow, outcome: Outcome) -> str | None:
    """Enters the assistant turn where there is one to keep; gives its text."""
    completed = outcome.state is State.COMPLETED
    if not completed and not outcome.text:
        return None
    await add_turn(
        connection,
        row.conversation_id,
        row.id,
        "assistant",
        outcome.text,
        partial=not completed,
    )
    return outcome.text


def _commit_parameters(generation_id: str, attempt: int, outcome: Outcome) -> Mapping[str, Any]:
    usage = outcome.usage
    return {
        "generation": generation_id,
        "claimed": attempt,
        "end": outcome.state.value,
        "seq": outcome.last_seq,
        "offset": outcome.last_offset,
        "events": outcome.timeline,
        "reason": _fitting(outcome.finish_reason),
        "changes": outcome.change is not None and outcome.state is State.COMPLETED,
        "file_list": msgspec.to_builtins(outcome.files),
        "skill_list": msgspec.to_builtins(outcome.skills),
        "tokens_in": None if usage is None else usage.input_tokens,
        "tokens_out": None if usage is None else usage.output_tokens,
        **_failure(outcome.error),
    }


def _failure(error: Failure | None) -> dict[str, Any]:
    return {
        "code": None if error is None else _fitting(error.code),
        "message": None if error is None else error.message,
        "retryable": None if error is None else error.retryable,
    }


def _fitting(word: str | None) -> str | None:
    # A model may say anything; a word too long for its column would make the end unstorable.
    return None if word is None else word[:64]
