"""What most tests of the store do, in a word each; and a clock that can be turned back."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from jobs.database import Database
from jobs.generation import Failure, FileChange, Kind, OnActive, SkillChoice, State, Usage
from jobs.ids import new_id
from jobs.store.claims import Claimed, claim, register_worker
from jobs.store.commits import Committed, Outcome, PersonaChange, commit
from jobs.store.intake import Accepted, Budget, NewGeneration, accept

LEASE = 10.0
NO_LIMIT = Budget()


def outcome(
    text: str = "hello",
    state: State = State.COMPLETED,
    *,
    usage: Usage | None = None,
    error: Failure | None = None,
    files: tuple[FileChange, ...] = (),
    skills: tuple[SkillChoice, ...] = (),
    change: PersonaChange | None = None,
) -> Outcome:
    """An attempt's outcome with a terminal event at seq 3."""
    return Outcome(
        state=state,
        text=text,
        timeline=b"timeline",
        last_seq=3,
        last_offset=len(text),
        finish_reason="stop" if state is State.COMPLETED else None,
        usage=usage,
        error=error,
        files=files,
        skills=skills,
        change=change,
    )


def change(
    written: dict[str, str], *deleted: str, skills: tuple[str, ...] = (), **derived: Any
) -> PersonaChange:
    """A change of a persona."""
    return PersonaChange(written=written, deleted=deleted, skills=skills, derived=derived)


@dataclass(frozen=True)
class Acts:
    """The store, with defaults."""

    db: Database

    async def worker(self, worker_id: str) -> str:
        """Make a worker known."""
        await register_worker(self.db, worker_id, 10)
        return worker_id

    async def accept(
        self,
        kind: Kind = Kind.CHAT,
        text: str = "hi",
        *,
        owner: str = "ann",
        budget: Budget = NO_LIMIT,
        expires: float = 60,
        on_active: OnActive = "reject",
        generation_id: str | None = None,
        ahead: Callable[[Accepted], None] | None = None,
        **fields: Any,
    ) -> Accepted:
        """Ask for a generation."""
        new = NewGeneration(
            owner=owner, kind=kind, input=text, model="m", on_active=on_active, **fields
        )
        return await accept(
            self.db,
            new,
            generation_id=generation_id or new_id("gen"),
            budget=budget,
            expires_seconds=expires,
            ahead=ahead,
        )

    async def claim(
        self, generation_id: str, seen: int = 0, worker: str = "wrk_1"
    ) -> Claimed | None:
        """Try to claim it."""
        return await claim(self.db, generation_id, seen, worker, lease_seconds=LEASE)

    async def claimed(self, generation_id: str, seen: int = 0, worker: str = "wrk_1") -> Claimed:
        """Claim it."""
        got = await self.claim(generation_id, seen, worker)
        assert got is not None
        return got

    async def commit(self, claimed: Claimed, end: Outcome | None = None) -> Committed:
        """Commit it."""
        done = await commit(self.db, claimed.id, claimed.attempt, end or outcome())
        assert done is not None
        return done

    async def run(self, accepted: Accepted, end: Outcome | None = None) -> Committed:
        """Claim and commit it."""
        return await self.commit(await self.claimed(accepted.generation.id), end)

    async def chat(self, *pairs: tuple[str, str]) -> str:
        """A conversation with these pairs of turns; its id."""
        conversation = None
        for question, reply in pairs:
            accepted = await self.accept(text=question, conversation_id=conversation)
            conversation = accepted.generation.conversation_id
            await self.run(accepted, outcome(reply))
        assert conversation is not None
        return conversation

    async def persona(self, *changes: PersonaChange, owner: str = "ann") -> str:
        """A persona with these versions; its id."""
        persona = None
        for one in changes:
            if persona is None:
                accepted = await self.accept(Kind.GENERATE, "a brief", name="Ann", owner=owner)
                persona = accepted.generation.persona_id
            else:
                accepted = await self.accept(Kind.REFINE, "more", persona_id=persona, owner=owner)
            await self.run(accepted, outcome(change=one))
        assert persona is not None
        return persona

    async def elapse(self, seconds: float) -> None:
        """Let this time pass for every row: the stored times move into the past."""
        columns = {
            "generations": ("created_at", "started_at", "finished_at", "expires_at"),
            "workers": ("heartbeat_at",),
            "api_tokens": ("created_at", "expires_at", "last_used_at"),
        }
        for table, names in columns.items():
            shifts = ", ".join(f"{name} = {name} - {round(seconds * 1000)}" for name in names)
            await self.db.write_one(text(f"UPDATE {table} SET {shifts}"))

    async def silence(self, worker_id: str, seconds: float) -> None:
        """Let this worker have been silent for this long."""
        await self.db.write_one(
            text("UPDATE workers SET heartbeat_at = heartbeat_at - :ms WHERE id = :id"),
            {"ms": round(seconds * 1000), "id": worker_id},
        )


@asynccontextmanager
async def acting(url: str) -> AsyncIterator[Acts]:
    """The database at this address, with a worker `wrk_1` registered."""
    async with Database.open(url) as db:
        acts = Acts(db)
        await acts.worker("wrk_1")
        yield acts
