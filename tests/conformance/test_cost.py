"""What the store costs: statements a generation, however much is stored, and the indexes used."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, Executable, event, text

from jobs.database import Database
from jobs.database_engines import POSTGRES_CONNECTIONS
from jobs.generation import Kind
from jobs.store import (
    branches,
    claims,
    commits,
    context,
    expiring,
    leftovers,
    line,
    reads,
    standings,
    tries,
    workers,
)
from jobs.store.budget import Budget
from jobs.store.context import read_context
from jobs.store.expiring import expire_overdue
from jobs.store.standings import read_unusual
from jobs.store.workers import Tally, beat
from tests.conformance.acts import LEASE, Acts, change, outcome
from tests.services import DelayingProxy

LIMITS = Budget(owner_generations=10**6, total_generations=10**6)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that all engines execute meanwhile, BEGIN and COMMIT apart."""
    statements: list[str] = []

    def note(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: bool) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def chat_statements(acts: Acts, conversation: str | None = None) -> dict[str, int]:
    costs = {}
    with counted() as statements:

        def lap(name: str) -> None:
            costs[name] = len(statements)
            statements.clear()

        accepted = await acts.accept(conversation_id=conversation, budget=LIMITS)
        lap("accept")
        claimed = await acts.claimed(accepted.generation.id)
        lap("claim")
        await read_context(acts.db, claimed, history_characters=1000)
        lap("context")
        await acts.commit(claimed, outcome("x" * 30))
        lap("commit")
    return costs


async def test_the_statements_of_a_chat_are_few_and_do_not_grow(acts: Acts) -> None:
    lock = acts.db.dialect == "postgresql"
    first = await chat_statements(acts)
    assert first == {"accept": 4 + lock, "claim": 1, "context": 0, "commit": 3 + lock}
    conversation = await acts.chat(("hi", "hello"))
    early = await chat_statements(acts, conversation)
    for _ in range(30):
        await acts.run(await acts.accept(conversation_id=conversation))
        await acts.accept(owner="bob")
    assert await chat_statements(acts, conversation) == early
    assert early == {"accept": 4 + lock, "claim": 1, "context": 1, "commit": 3 + lock}


async def test_a_change_of_a_persona_costs_the_same_for_any_number_of_files(acts: Acts) -> None:
    costs = []
    for count in (1, 40):
        made = await acts.accept(Kind.GENERATE)
        claimed = await acts.claimed(made.generation.id)
        files = {f"{number}.md": "text" for number in range(count)}
        with counted() as statements:
            await acts.commit(claimed, outcome(change=change(files)))
            costs.append(len(statements))
    assert costs[0] == costs[1] <= 8


async def test_a_heartbeat_costs_two_or_three_statements_whatever_is_held(acts: Acts) -> None:
    for held in (0, 1, 8):
        for _ in range(held):
            await acts.claimed((await acts.accept()).generation.id)
        with counted() as statements:
            told = await beat(acts.db, "wrk_1", held)
            assert told.held is not None
            known = Tally(len(told.held), sum(told.held.values()))
            await beat(acts.db, "wrk_1", held, known=known)
            await beat(acts.db, "wrk_1", held, known=Tally(-1, 0))
        assert len(statements) == 2 + 2 + 3


async def test_to_look_for_what_stands_unusually_costs_one_statement_for_any_number(
    acts: Acts,
) -> None:
    for number in (1, 700):
        with counted() as statements:
            ids = [f"gen_{one}" for one in range(number)]
            await read_unusual(acts.db, ids, lease_seconds=LEASE)
        assert len(statements) == 1


PARAMETERS: dict[str, Any] = {
    "generation": "gen_x", "generation_id": "gen_x", "conversation": "con_x", "seen": 0,
    "worker": "wrk_x", "lease_ms": 1, "limit": 10, "age_ms": 1, "owner": "ann", "ids": "[]",
    "persona": "per_x", "id": "gen_x", "hash": "x", "times": 1, "within": 1, "waited": 1,
    "longest": 1, "upto": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (line._PROMOTE, "ix_generations_line"),
        (line._PROMOTE, "uq_generations_active_conversation"),
        (line._CANCEL_QUEUED, "ix_generations_line"),
        (line._CANCEL_RUNNING, "uq_generations_active_conversation"),
        (leftovers._LOST, "ix_generations_unfinished"),
        (leftovers._UNENQUEUED, "ix_generations_unfinished"),
        (expiring._OVERDUE, "ix_generations_unfinished"),
        (leftovers._STUCK, "ix_generations_unfinished"),
        (leftovers._LEFTOVERS, "COVERING INDEX ix_generations_running"),
        (workers._HELD, "COVERING INDEX ix_generations_running (worker_id=?)"),
        (workers._TALLY, "COVERING INDEX ix_generations_running (worker_id=?)"),
        (context._NEWEST_TURNS, "conversation_id"),
        (claims._CLAIM, "id=?"),
        (commits._RESOURCE, "id=?"),
        (reads._OWNERS, "id=?"),
        (standings._UNUSUAL, "id=?"),
        (branches.CONVERSATION_OF, "id=?"),
        (branches.FOLLOWED, "conversation_id"),
        (branches.FORKED_AT, "generation_id"),
        (tries._SAME_REQUEST, "ix_generations_owner_created_at"),
    ],
)
async def test_a_statement_searches_its_index_and_scans_no_table(
    sqlite_url: str, statement: Executable, index: str
) -> None:
    async with Database.open(sqlite_url) as db:
        compiled = statement.compile(db._writer.sync_engine)  # type: ignore[attr-defined]
        names = compiled.positiontup or ()
        async with db.read() as connection:
            plan = await connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {compiled.string}",
                tuple(PARAMETERS.get(name, compiled.params[name]) for name in names),
            )
            steps = [list(row)[3] for row in plan.all()]
    assert any(index in step for step in steps), steps
    scanned = [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert not [step for step in scanned if "generations" in step or "turns" in step], steps


async def test_a_budget_is_counted_in_an_index_on_postgresql(
    postgres_url: str,
) -> None:
    """The clock must not be seen as changing within a statement, or no index could be used."""
    async with Database.open(postgres_url) as db:
        await db.write_one(text("SET enable_seqscan = off"))
        now = "(SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT))"
        plan = await db.fetch(
            text(f"EXPLAIN SELECT created_at FROM generations WHERE created_at > {now} - 60000")
        )
    # Which of the indexes an empty table is looked up in is chance.
    assert any("Index Cond: (created_at > " in row[0] for row in plan), plan


async def test_many_claims_at_once_share_the_connections_that_were_made(
    direct: Acts, far: Acts, proxy: DelayingProxy
) -> None:
    """As when a large worker was lost: to make one costs the server more than the claim."""
    waiting = [(await direct.accept(budget=LIMITS)).generation.id for _ in range(120)]
    claimed = await asyncio.gather(*(far.claim(one) for one in waiting))
    assert None not in claimed
    assert proxy.counts.connections <= POSTGRES_CONNECTIONS


async def test_many_that_are_overdue_expire_in_as_many_statements_as_one(acts: Acts) -> None:
    costs = []
    for many in (1, 60):
        for _ in range(many):
            await acts.accept(expires=1, budget=LIMITS)
        await acts.elapse(5)
        with counted() as statements:
            assert len(await expire_overdue(acts.db, 100)) == many
        costs.append(len(statements))
    assert costs[0] == costs[1] <= 4
