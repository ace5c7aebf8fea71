"""One request on its way in: its transaction, in the order of refusals, and what it stores."""

from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Select, bindparam, insert, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import now_ms
from jobs.errors import (
    CascadeTooDeep,
    GenerationActive,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
)
from jobs.generation import Generation, Kind, State, events_url, rfc3339
from jobs.ids import new_id
from jobs.store.branches import CONVERSATION_OF, FOLLOWED
from jobs.store.budget import Budget, check_budget, lock_budget, usage_columns
from jobs.store.line import Cleared, add_turn, clear_line
from jobs.store.requests import Accepted, NewGeneration
from jobs.store.rows import IS_ACTIVE, SELECT_RESOURCE, AnyRow, generation_of
from jobs.store.threads import enter_thread, in_thread
from jobs.store.tries import find_other_try, lock_tries
from jobs.tables import conversations, generations, personas

_NAME_CHARACTERS = 80


class _Place(msgspec.Struct, frozen=True):
    """Where the generation will stand; `new` means that its conversation is yet to be made."""

    conversation_id: str
    persona_id: str | None
    new: bool
    forked_from: str | None = None


_CONVERSATION = (
    select(conversations.c.id, conversations.c.persona_id)
    .where(conversations.c.id == bindparam("id"), conversations.c.owner == bindparam("owner"))
    .with_for_update(key_share=True)
)
_CONVERSATION_OF_PERSONA = (
    select(conversations.c.id, conversations.c.persona_id)
    .where(
        conversations.c.id
        == select(personas.c.conversation_id)
        .where(
            personas.c.id == bindparam("id"),
            personas.c.owner == bindparam("owner"),
            personas.c.deleted_at.is_(None),
        )
        .scalar_subquery()
    )
    .with_for_update(key_share=True)
)
_PARENT_DEPTH = select(generations.c.depth).where(
    generations.c.id == bindparam("id"), generations.c.owner == bindparam("owner")
)
_RESOURCE = SELECT_RESOURCE.add_columns(generations.c.active).where(
    generations.c.id == bindparam("id")
)
_ADD_CONVERSATION = insert(conversations).values(
    id=bindparam("id"),
    owner=bindparam("owner"),
    persona_id=bindparam("persona_id"),
    created_at=now_ms(),
    forked_from=bindparam("forked_from"),
)
_ADD_PERSONA = insert(personas).values(
    id=bindparam("id"),
    owner=bindparam("owner"),
    name=bindparam("name"),
    brief=bindparam("brief"),
    conversation_id=bindparam("conversation_id"),
    version=literal_column("0"),
    created_at=now_ms(),
)
_ADD_GENERATION = (
    insert(generations)
    .values(
        id=bindparam("id"),
        owner=bindparam("owner"),
        kind=bindparam("kind"),
        state=literal_column("'queued'"),
        active=bindparam("active"),
        restartable=bindparam("restartable"),
        depth=bindparam("depth"),
        traceparent=bindparam("traceparent"),
        model=bindparam("model"),
        conversation_id=bindparam("conversation_id"),
        persona_id=bindparam("persona_id"),
        input=bindparam("input"),
        idempotency_key=bindparam("idempotency_key"),
        idempotency_hash=bindparam("idempotency_hash"),
        tried=bindparam("tried"),
        asked=bindparam("asked", type_=generations.c.asked.type),
        created_at=now_ms(),
        expires_at=now_ms() + bindparam("expires_ms"),
    )
    .returning(generations.c.created_at, generations.c.expires_at)
)


class Admission:
    """The transaction of one request; `run` may be called several times until it is known."""

    def __init__(
        self, new: NewGeneration, generation_id: str, budget: Budget, expires_ms: int
    ) -> None:
        self._new = new
        self._id = generation_id
        self._budget = budget
        self._expires_ms = expires_ms
        self._cleared = Cleared((), ())
        self.unknown = False

    async def run(self, connection: AsyncConnection) -> Accepted:
        """Stores it or raises; with `unknown` set, an earlier run may have stored it already."""
        await lock_budget(connection, self._new.owner, self._budget)
        if self._new.thread is not None:
            self._new = await in_thread(connection, self._new)
        new = self._new
        await lock_tries(connection, new)
        other = await find_other_try(connection, new)
        # Looked for before its place: what another try stored has taken that.
        if other is not None and not (self.unknown and await self._read(connection, self._id)):
            return await self._replay(connection, other)
        place = await self._place(connection)
        if self.unknown and (mine := await self._read(connection, self._id)) is not None:
            generation = generation_of(mine, mine.answer)
            starts = mine.active and generation.state is State.QUEUED
            return Accepted(generation, False, starts, sum(self._cleared, ()), new.owner)
        depth = await self._depth(connection)
        standing = await self._standing(connection, place)
        if new.idempotency_key is not None and standing.replayed_id is not None:
            if standing.replayed_hash != new.idempotency_hash:
                raise IdempotencyKeyReused(standing.replayed_id)
            return await self._replay(connection, standing.replayed_id)
        if new.kind is Kind.REFINE and not standing.persona_there:
            raise NotFound(new.persona_id or "")
        check_budget(self._budget, standing)
        active = await self._clear_the_way(connection, place, standing)
        return await self._store(connection, place, depth, active)

    async def _replay(self, connection: AsyncConnection, generation_id: str) -> Accepted:
        stored = await self._read(connection, generation_id)
        assert stored is not None
        return Accepted(generation_of(stored, stored.answer), True, False, (), self._new.owner)

    async def _place(self, connection: AsyncConnection) -> _Place:
        """Locks the line of the conversation that it goes into, or names a new one."""
        new = self._new
        if new.kind is Kind.GENERATE:
            return _Place(new_id("con"), new_id("per"), new=True)
        if new.follows is not None:
            return await self._place_after(connection, new.follows)
        if new.conversation_id is None and new.persona_id is None:
            return _Place(new_id("con"), None, new=True)
        wanted = new.persona_id or new.conversation_id or ""
        statement = _CONVERSATION if new.persona_id is None else _CONVERSATION_OF_PERSONA
        row = (await connection.execute(statement, {"id": wanted, "owner": new.owner})).first()
        if row is None:
            raise NotFound(wanted)
        if new.kind is not Kind.REFINE and row.persona_id is not None:
            raise InvalidRequest("conversation_id", "is a persona's: continue it with refine")
        if new.kind is Kind.REFINE and new.conversation_id not in (None, row.id):
            raise InvalidRequest("conversation_id", "is not this persona's")
        return _Place(row.id, new.persona_id, new=False)

    async def _place_after(self, connection: AsyncConnection, followed: str) -> _Place:
        new = self._new
        wanted = {"id": followed, "owner": new.owner}
        row = (await connection.execute(CONVERSATION_OF, wanted)).first()
        if row is None:
            raise NotFound(followed)
        if row.persona_id != new.persona_id:
            raise InvalidRequest("follows", "is of another persona, or of none")
        # Read after the lock, so that nobody goes on from it meanwhile.
        before = (await connection.execute(FOLLOWED, wanted)).one()
        if not before.has_later:
            return _Place(row.id, row.persona_id, new=False)
        if row.persona_id is not None:
            raise InvalidRequest("follows", "is not the newest of its persona's conversation")
        if not State(before.state).terminal:
            raise GenerationActive(followed)
        return _Place(new_id("con"), None, new=True, forked_from=followed)

    async def _depth(self, connection: AsyncConnection) -> int:
        new = self._new
        if new.caused_by is None:
            return 0
        parameters = {"id": new.caused_by, "owner": new.owner}
        parent = (await connection.execute(_PARENT_DEPTH, parameters)).scalar()
        if parent is None:
            raise NotFound(new.caused_by)
        if parent + 1 > 1:
            raise CascadeTooDeep(new.caused_by, parent + 1)
        return int(parent) + 1

    async def _standing(self, connection: AsyncConnection, place: _Place) -> AnyRow:
        """What is there already, seen after the locks: a replay, the usage, the active one."""
        new = self._new
        statement = _standing_statement(
            new.idempotency_key is not None,
            new.kind is Kind.REFINE,
            not place.new,
            self._budget.limited,
        )
        parameters = {
            "owner": new.owner,
            "key": new.idempotency_key,
            "persona": new.persona_id,
            "conversation": place.conversation_id,
            **self._budget.parameters(),
        }
        row: AnyRow = (await connection.execute(statement, parameters)).one()
        return row

    async def _clear_the_way(
        self, connection: AsyncConnection, place: _Place, standing: AnyRow
    ) -> bool:
        """Whether it becomes active at once; it waits where another one still holds the place."""
        if place.new or standing.active_id is None:
            return True
        if self._new.on_active == "reject":
            raise GenerationActive(standing.active_id)
        if self._new.on_active == "queue":
            return False
        self._cleared = await clear_line(connection, place.conversation_id)
        return not self._cleared.stopping

    async def _store(
        self, connection: AsyncConnection, place: _Place, depth: int, active: bool
    ) -> Accepted:
        new = self._new
        conversation = {"id": place.conversation_id, "owner": new.owner}
        if place.new:
            values = {
                **conversation, "persona_id": place.persona_id, "forked_from": place.forked_from
            }  # fmt: skip
            await connection.execute(_ADD_CONVERSATION, values)
        if new.kind is Kind.GENERATE:
            persona = {
                "id": place.persona_id,
                "owner": new.owner,
                "name": new.name or _name_from(new.input),
                "brief": new.input,
                "conversation_id": place.conversation_id,
            }
            await connection.execute(_ADD_PERSONA, persona)
        row = {
            "id": self._id,
            "owner": new.owner,
            "kind": new.kind.value,
            "active": active,
            "restartable": new.restartable,
            "depth": depth,
            "traceparent": new.traceparent,
            "model": new.model,
            "conversation_id": place.conversation_id,
            "persona_id": place.persona_id,
            "input": new.input,
            "idempotency_key": new.idempotency_key,
            "idempotency_hash": new.idempotency_hash,
            "tried": None if new.tries is None else new.tries.before,
            "asked": new.asked,
            "expires_ms": self._expires_ms,
        }
        times = (await connection.execute(_ADD_GENERATION, row)).one()
        if active:
            await add_turn(connection, place.conversation_id, self._id, "user", new.input)
        if new.thread is not None:
            await enter_thread(connection, new, place.conversation_id, self._id)
        generation = Generation(
            id=self._id,
            kind=new.kind,
            state=State.QUEUED,
            attempt=0,
            model=new.model,
            conversation_id=place.conversation_id,
            persona_id=place.persona_id,
            input=new.input,
            output=None,
            usage=None,
            error=None,
            created_at=rfc3339(times.created_at),
            started_at=None,
            finished_at=None,
            expires_at=rfc3339(times.expires_at),
            events_url=events_url(self._id),
        )
        return Accepted(
            generation, False, active, self._cleared.ended + self._cleared.stopping, new.owner
        )

    async def _read(self, connection: AsyncConnection, generation_id: str) -> AnyRow | None:
        found: AnyRow | None
        found = (await connection.execute(_RESOURCE, {"id": generation_id})).first()
        return found


@lru_cache
def _standing_statement(
    keyed: bool, refines: bool, in_line: bool, limited: tuple[str, ...]
) -> Select[Any]:
    """One statement for all that is to be known, with only the columns that this request needs."""
    columns = usage_columns(limited)
    if keyed:
        mine = (
            generations.c.owner == bindparam("owner"),
            generations.c.idempotency_key == bindparam("key"),
        )
        for name, column in (("id", generations.c.id), ("hash", generations.c.idempotency_hash)):
            found = select(column).where(*mine).scalar_subquery()
            columns.append(found.label(f"replayed_{name}"))
    if refines:
        there = select(personas.c.id).where(
            personas.c.id == bindparam("persona"), personas.c.deleted_at.is_(None)
        )
        columns.append(there.exists().label("persona_there"))
    if in_line:
        active = select(generations.c.id).where(
            generations.c.conversation_id == bindparam("conversation"), IS_ACTIVE
        )
        columns.append(active.scalar_subquery().label("active_id"))
    return select(*columns) if columns else select(literal_column("1"))


def _name_from(brief: str) -> str:
    """A name for a persona that was given none: its brief's first line, cut."""
    lines = brief.strip().splitlines() or ["Persona"]
    return lines[0][:_NAME_CHARACTERS].strip()
