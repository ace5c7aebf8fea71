"""The connection to PostgreSQL fails at the worst moments, and every outcome is still known."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import CommitUnknown, Database, migrate
from jobs.database_errors import NotTaken
from jobs.errors import OutcomeUnknown, Unavailable
from jobs.generation import Kind, State
from jobs.ids import new_id
from jobs.store import commits
from jobs.store.claims import hand_over
from jobs.store.reads import read_generation, read_stream_row
from jobs.store.tokens import authenticate, create_token
from tests.conformance.acts import LEASE, Acts, change, outcome
from tests.services import DelayingProxy, Direction, PostgresServer

COMMIT = b"COMMIT;"


async def stored(acts: Acts) -> list[str]:
    rows = await acts.db.fetch(text("SELECT id FROM generations"))
    return [row.id for row in rows]


@pytest.mark.parametrize("times", [1, 2])
async def test_an_acceptance_cut_before_its_commit_is_stored_once(
    far: Acts, direct: Acts, proxy: DelayingProxy, times: int
) -> None:
    trap = proxy.cut_before(COMMIT, Direction.UP, times=times)
    accepted = await far.accept(Kind.GENERATE, name="Ada")
    assert trap.sprung == times
    assert (accepted.starts, accepted.replayed) == (True, False)
    assert await stored(direct) == [accepted.generation.id]
    assert len(await direct.db.fetch(text("SELECT id FROM personas"))) == 1


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_acceptance_cut_after_its_commit_is_found_and_not_stored_again(
    far: Acts, direct: Acts, proxy: DelayingProxy, key: str | None
) -> None:
    conversation = await direct.chat(("hi", "hello"))
    before = await stored(direct)
    trap = proxy.cut_after(COMMIT, Direction.UP)
    accepted = await far.accept(conversation_id=conversation, idempotency_key=key)
    assert trap.sprung == 1
    assert (accepted.starts, accepted.replayed) == (True, False)
    assert sorted(await stored(direct)) == sorted([*before, accepted.generation.id])
    assert accepted.generation == await read_generation(direct.db, "ann", accepted.generation.id)


async def test_an_interrupt_cut_after_its_commit_still_says_whom_it_interrupted(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    first = await direct.accept()
    proxy.cut_after(COMMIT, Direction.UP)
    urgent = await far.accept(
        conversation_id=first.generation.conversation_id, on_active="interrupt"
    )
    assert urgent.interrupted == (first.generation.id,)


async def test_an_acceptance_that_stays_unknown_carries_its_id(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    one = new_id("gen")
    trap = proxy.cut_after(COMMIT, Direction.UP)
    task = asyncio.create_task(far.accept(generation_id=one))
    await trap.wait()
    proxy.refuse()
    with pytest.raises(OutcomeUnknown) as unknown:
        await task
    assert unknown.value.generation_id == one
    assert await stored(direct) == [one]


async def test_an_acceptance_that_never_reached_the_commit_is_unavailable(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    proxy.refuse()
    proxy.abort()
    with pytest.raises(Unavailable) as away:
        await far.accept()
    assert not isinstance(away.value, CommitUnknown)
    assert await stored(direct) == []


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_end_cut_at_its_commit_is_stored_once(
    far: Acts, direct: Acts, proxy: DelayingProxy, where: str
) -> None:
    made = await direct.accept(Kind.GENERATE, name="Ada")
    persona = str(made.generation.persona_id)
    waiting = await direct.accept(Kind.REFINE, persona_id=persona, on_active="queue")
    claimed = await direct.claimed(made.generation.id)
    cut = proxy.cut_before if where == "before" else proxy.cut_after
    trap = cut(COMMIT, Direction.UP)
    done = await far.commit(claimed, outcome("whole", change=change({"a.md": "a"})))
    assert trap.sprung == 1
    assert done.promoted == waiting.generation.id
    assert done.generation == await read_generation(direct.db, "ann", claimed.id)
    versions = await direct.db.fetch(text("SELECT version FROM persona_versions"))
    assert [row.version for row in versions] == [1]
    roles = await direct.db.fetch(text("SELECT role FROM turns ORDER BY position"))
    assert [row.role for row in roles] == ["user", "assistant", "user"]


async def test_an_end_that_stays_unknown_says_so_and_may_be_repeated(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    claimed = await direct.claimed((await direct.accept()).generation.id)
    trap = proxy.cut_before(COMMIT, Direction.UP)
    task = asyncio.create_task(far.commit(claimed, outcome("whole")))
    await trap.wait()
    proxy.refuse()
    with pytest.raises(CommitUnknown):
        await task
    assert (await read_generation(direct.db, "ann", claimed.id)).state is State.RUNNING
    proxy.heal()
    assert (await far.commit(claimed)).generation.state is State.COMPLETED


async def test_an_end_whose_fence_fell_while_it_was_unknown_is_refused(
    far: Acts, direct: Acts, proxy: DelayingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await direct.claimed((await direct.accept()).generation.id)
    # The end is looked into again only after another worker has claimed the generation.
    monkeypatch.setattr(commits, "_PAUSES_SECONDS", (0.5, 0.5))
    trap = proxy.cut_before(COMMIT, Direction.UP)
    stale = commits.commit(far.db, claimed.id, claimed.attempt, outcome("stale"))
    task = asyncio.create_task(stale)
    await trap.wait()
    assert await hand_over(direct.db, claimed.id, 1)
    newer = await direct.claimed(claimed.id, 1)
    assert await task is None
    assert (await direct.commit(newer)).generation.attempt == 2


async def test_an_end_that_is_refused_says_whether_for_itself(direct: Acts) -> None:
    """What is wrong with the database passes once it is mended, what is wrong with it does not."""
    claimed = await direct.claimed((await direct.accept()).generation.id)

    async def error_of(code: str) -> Exception:
        await direct.db.write(lambda connection: _refuse_turns(connection, code))
        with pytest.raises((Unavailable, DBAPIError)) as refused:
            await direct.commit(claimed, outcome("whole"))
        return refused.value

    for code in ("42501", "42P01", "XX000", "P0001"):
        error = await error_of(code)
        assert isinstance(error, NotTaken)
        assert "says a trigger" in str(error)
    for code in ("55P03", "40001", "40P01"):
        assert type(await error_of(code)) is Unavailable
    for code in ("22P05", "23514", "54000"):
        assert not isinstance(await error_of(code), Unavailable)
    assert (await read_generation(direct.db, "ann", claimed.id)).state is State.RUNNING
    await direct.db.write_one(text("DROP TRIGGER refusing ON turns"))
    assert (await direct.commit(claimed)).generation.state is State.COMPLETED


async def _refuse_turns(connection: AsyncConnection, code: str) -> None:
    for statement in (
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'says a trigger' USING ERRCODE = '{code}'; END $$",
        "CREATE OR REPLACE TRIGGER refusing BEFORE INSERT ON turns"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
    ):
        await connection.execute(text(statement))


async def test_a_claim_whose_answer_was_lost_is_this_workers(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    """The statement reached the database, the rows never came back: it is claimed once."""
    await far.claim("gen_unknown")
    one = (await direct.accept()).generation.id
    trap = proxy.cut_after(one.encode(), Direction.UP)
    claimed = await far.claimed(one)
    assert trap.sprung == 1
    assert (claimed.attempt, claimed.reset) == (1, None)
    row = await read_stream_row(direct.db, one, lease_seconds=LEASE)
    assert row is not None
    assert row.attempt == 1


async def test_a_claim_that_never_arrived_is_made_once_more(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    await far.claim("gen_unknown")
    one = (await direct.accept()).generation.id
    trap = proxy.cut_before(one.encode(), Direction.UP)
    assert (await far.claimed(one)).attempt == 1
    assert trap.sprung == 1


async def test_connections_cut_while_idle_are_not_noticed(
    far: Acts, direct: Acts, proxy: DelayingProxy
) -> None:
    await asyncio.gather(*(far.db.fetch(text("SELECT pg_sleep(0.02)")) for _ in range(5)))
    for _ in range(3):
        assert proxy.abort() > 0
        await far.accept()
        proxy.abort()
        await far.db.fetch(text("SELECT 1"))
    assert len(await stored(direct)) == 3


async def test_a_restart_of_the_server_is_survived(
    start_postgres: Callable[[], PostgresServer],
) -> None:
    server = start_postgres()
    await migrate(server.url())
    async with Database.open(server.url()) as db:
        acts = Acts(db)
        await acts.worker("wrk_1")
        first = await acts.accept()
        server.stop()
        with pytest.raises(Unavailable):
            await acts.accept()
        server.start()
        done = await acts.run(first)
        assert done.generation.state is State.COMPLETED


@pytest.mark.parametrize("committed", [False, True])
async def test_a_token_whose_use_can_not_be_noted_is_good_all_the_same(
    far: Acts, direct: Acts, proxy: DelayingProxy, committed: bool
) -> None:
    token, row = await create_token(direct.db, "laptop", "ann", ("read",), None)
    cut = proxy.cut_after if committed else proxy.cut_before
    trap = cut(COMMIT, Direction.UP)
    known = await authenticate(far.db, token)
    assert trap.sprung == 1
    assert known is not None
    assert known.prefix == row.prefix


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_server_that_goes_while_a_connection_is_set_up_is_unavailable(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def gone(*_: Any, **__: Any) -> None:
        raise error

    async def nothing(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))

    async with Database.open(postgres_url) as db:
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg.Connection, "set_type_codec", gone)
            with pytest.raises(Unavailable):
                await db.fetch(text("SELECT 1"))
            with pytest.raises(Unavailable):
                await db.write(nothing)
        assert await db.fetch(text("SELECT 1"))
