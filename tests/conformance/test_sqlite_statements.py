"""A statement that goes to SQLite by itself does what it does by way of SQLAlchemy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, UniqueViolation, migrate, now_ms
from jobs.sqlite_statements import Prepared
from jobs.tables import conversations, generations

ADD = insert(conversations).values(id=bindparam("id"), owner=bindparam("owner"), created_at=7)
READ = select(conversations).where(conversations.c.owner == bindparam("owner"))
RENAME = update(conversations).where(conversations.c.id == bindparam("which"))
ASKED = (
    insert(generations)
    .values(
        id=bindparam("id"), owner="ann", kind="chat", state="queued", model="m", input="hi",
        conversation_id="c", created_at=now_ms(), expires_at=9, active=bindparam("active"),
        asked=bindparam("asked", type_=generations.c.asked.type),
    )
    .returning(generations.c.asked, generations.c.active, generations.c.created_at.label("at"))
)  # fmt: skip


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/relay.db"
    await migrate(url)
    async with Database.open(url) as opened:
        yield opened


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Prepared]:
    """The statements that went by themselves."""
    seen: list[Prepared] = []
    run = Prepared.run

    def noted(self: Prepared, *arguments: Any) -> Any:
        seen.append(self)
        return run(self, *arguments)

    monkeypatch.setattr(Prepared, "run", noted)
    return seen


async def test_from_the_second_time_on_a_statement_goes_by_itself(
    db: Database, runs: list[Prepared]
) -> None:
    for number in range(3):
        await db.write_one(ADD, {"id": f"c{number}", "owner": "ann"})
    assert len(runs) == 2
    first, *others = [await db.fetch(READ, {"owner": "ann"}) for _ in range(3)]
    assert len(runs) == 4
    assert [one.id for one in first] == ["c0", "c1", "c2"]
    for rows in others:
        assert rows == first
        assert [one._mapping for one in rows] == [one._mapping for one in first]


async def test_values_are_turned_into_columns_and_back(db: Database, runs: list[Prepared]) -> None:
    await db.write_one(ADD, {"id": "c", "owner": "ann"})
    values: list[dict[str, Any]] = [
        {"active": False, "asked": {"protocol": "ü", "deep": [1, None]}},
        {"active": False, "asked": None},
        {"active": True, "asked": {}},
    ]
    for number, given in enumerate(values):
        [row] = await db.write_one(ASKED, {"id": f"g{number}", **given})
        assert (row.asked, row.active) == (given["asked"], given["active"])
        assert type(row.at) is int
        assert isinstance(row.active, bool)
    assert len(runs) == 2
    nulls = text("SELECT id FROM generations WHERE asked IS NULL")
    assert await db.fetch(nulls) == await db.fetch(nulls)


async def test_the_names_of_the_parameters_are_part_of_a_statement(db: Database) -> None:
    """What an UPDATE sets is named by them."""
    await db.write_one(ADD, {"id": "c", "owner": "ann"})
    for owner in ("bob", "cleo", "dan"):
        await db.write_one(RENAME, {"which": "c", "owner": owner})
        await db.write_one(RENAME, {"which": "c", "forked_from": owner})
        [row] = await db.fetch(select(conversations))
        assert (row.owner, row.forked_from) == (owner, owner)


async def test_lists_of_any_length_are_left_to_sqlalchemy(
    db: Database, runs: list[Prepared]
) -> None:
    for one in "abc":
        await db.write_one(ADD, {"id": one, "owner": "ann"})
    runs.clear()
    among = select(conversations.c.id).where(conversations.c.id.in_(bindparam("ids")))
    for ids in (["a"], ["a", "b"], [], ["a", "b", "c"]):
        assert [row.id for row in await db.fetch(among, {"ids": ids})] == ids
    assert runs == []


@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_refused_is_the_same_error_and_stores_nothing(
    db: Database, runs: list[Prepared], times: int
) -> None:
    for number in range(times):
        await db.write_one(ADD, {"id": f"c{number}", "owner": "ann"})
    runs.clear()

    async def twice(connection: AsyncConnection) -> None:
        await connection.execute(ADD, {"id": "new", "owner": "ann"})
        await connection.execute(ADD, {"id": "c0", "owner": "secret"})

    with pytest.raises(UniqueViolation) as refused:
        await db.write_at_once(twice)
    cause = refused.value.__cause__
    assert isinstance(cause, IntegrityError)
    assert "secret" not in str(cause)
    assert len(runs) == 2
    assert len(await db.fetch(READ, {"owner": "ann"})) == times
    # The connection is as good as before.
    await db.write_one(ADD, {"id": "after", "owner": "ann"})
    assert len(await db.fetch(READ, {"owner": "ann"})) == times + 1


async def test_statements_of_both_ways_share_a_transaction(
    db: Database, runs: list[Prepared]
) -> None:
    await db.write_one(ADD, {"id": "c", "owner": "ann"})
    other = text("INSERT INTO conversations (id, owner, created_at) VALUES (:id, 'ann', 0)")

    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(other, {"id": "sqlalchemy"})
        await connection.execute(ADD, {"id": "plain", "owner": "ann"})
        raise LookupError

    async def pass_(connection: AsyncConnection) -> int:
        await connection.execute(ADD, {"id": "plain", "owner": "ann"})
        await connection.execute(other, {"id": "sqlalchemy"})
        return len((await connection.execute(READ, {"owner": "ann"})).all())

    with pytest.raises(LookupError):
        await db.write_at_once(fail)
    assert len(await db.fetch(READ, {"owner": "ann"})) == 1
    assert await db.write_at_once(pass_) == 3
    assert len(await db.fetch(READ, {"owner": "ann"})) == 3
    assert len(runs) >= 3


async def test_whoever_listens_to_statements_hears_of_all(
    db: Database, runs: list[Prepared]
) -> None:
    heard: list[str] = []

    def note(_: object, __: object, statement: str, *others: object) -> None:
        heard.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        for number in range(3):
            await db.write_one(ADD, {"id": f"c{number}", "owner": "ann"})
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len([one for one in heard if one.startswith("INSERT")]) == 3
    assert runs == []


async def test_what_one_connection_has_compiled_goes_by_itself_on_every_other(
    db: Database, runs: list[Prepared]
) -> None:
    await db.write_one(ADD, {"id": "c", "owner": "ann"})
    for _ in range(2):
        await db.fetch(READ, {"owner": "ann"})
    runs.clear()
    # At once, so that most of them need a connection that has yet to be made.
    found = await asyncio.gather(*(db.fetch(READ, {"owner": "ann"}) for _ in range(4)))
    assert [len(rows) for rows in found] == [1, 1, 1, 1]
    assert len(runs) == 4
