"""Retention deletes what is old and ended, and nothing that anything else needs."""

from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, select, update

from jobs import keys, retention
from jobs.database import Database
from jobs.deleted import DeletedGeneration, Deletion
from jobs.errors import NotFound
from jobs.generation import Kind, State
from jobs.redis_link import open_redis
from jobs.retention import Removed, remove_old
from jobs.store.context import read_context
from jobs.store.conversations import read_conversation
from jobs.store.exports import export_files
from jobs.store.intake import Accepted
from jobs.store.personas import delete_persona, list_versions, read_persona
from jobs.store.reads import read_generation
from jobs.tables import conversations, generations, persona_files, persona_versions, personas, turns
from tests.conformance.acts import Acts, change, outcome

DAY = 86_400.0
MONTH = 30 * DAY
NOWHERE = "redis://127.0.0.1:1/0"


async def remove(
    acts: Acts, older_than: float = MONTH, *, dry_run: bool = False, url: str = NOWHERE
) -> Removed:
    async with open_redis(url) as redis:
        return await remove_old(acts.db, redis, older_than, dry_run=dry_run)


async def count(db: Database, table: Any) -> int:
    return int((await db.fetch(select(func.count()).select_from(table)))[0][0])


async def is_there(acts: Acts, generation_id: str) -> bool:
    try:
        await read_generation(acts.db, None, generation_id)
    except NotFound:
        return False
    return True


async def ended(acts: Acts, **fields: Any) -> str:
    accepted = await acts.accept(**fields)
    await acts.run(accepted)
    return accepted.generation.id


async def test_what_ended_long_ago_goes_with_its_turns_and_the_rest_stays(acts: Acts) -> None:
    old = [await ended(acts) for _ in range(3)]
    failed = await acts.accept()
    await acts.run(failed, outcome("half", State.FAILED))
    await acts.elapse(MONTH + 60)
    await acts.worker("wrk_1")
    new = await ended(acts)
    removed = await remove(acts)
    assert removed == Removed(generations=4, personas=0, logs=None)
    for one in (*old, failed.generation.id):
        assert not await is_there(acts, one)
    assert await is_there(acts, new)
    assert await count(acts.db, turns) == 2
    # The conversation is there still, without what was said.
    conversation = await read_conversation(acts.db, "ann", failed.generation.conversation_id)
    assert conversation.turns == ()


async def test_a_dry_run_says_the_same_and_deletes_nothing(acts: Acts) -> None:
    await acts.chat(("one", "1"), ("two", "2"))
    gone = await acts.persona(change({"a.md": "x"}), change({"b.md": "y"}))
    await delete_persona(acts.db, "ann", gone)
    await acts.db.write_one(
        update(personas).values(deleted_at=personas.c.deleted_at - round(2 * MONTH * 1000))
    )
    await acts.elapse(2 * MONTH)
    tables = (generations, turns, personas, persona_versions, persona_files, conversations)
    before = [await count(acts.db, table) for table in tables]
    planned = await remove(acts, dry_run=True)
    assert planned == Removed(generations=4, personas=1, logs=None)
    assert [await count(acts.db, table) for table in tables] == before
    assert await remove(acts) == planned
    assert await remove(acts) == Removed(generations=0, personas=0, logs=None)


async def test_what_made_a_version_stays_and_so_does_the_persona(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "x"}), change({"b.md": "y"}))
    said = await ended(acts, kind=Kind.REFINE, persona_id=persona)
    await acts.elapse(2 * MONTH)
    assert (await remove(acts)).generations == 1
    assert not await is_there(acts, said)
    versions = (await list_versions(acts.db, "ann", persona)).data
    assert [one.version for one in versions] == [2, 1]
    for one in versions:
        assert await is_there(acts, one.generation_id)
    assert [file.path for file in (await read_persona(acts.db, "ann", persona)).files] == [
        "a.md",
        "b.md",
    ]


@pytest.mark.parametrize("runs", [True, False])
async def test_a_conversation_in_which_something_is_unfinished_is_left_alone(
    runs: bool, acts: Acts
) -> None:
    conversation = await acts.chat(("one", "1"), ("two", "2"))
    await acts.elapse(2 * MONTH)
    await acts.worker("wrk_1")
    waiting = await acts.accept(conversation_id=conversation)
    claimed = await acts.claimed(waiting.generation.id) if runs else None
    assert (await remove(acts)).generations == 0
    if claimed is not None:
        context = await read_context(acts.db, claimed, history_characters=1000)
        assert context.history == (("one", "1"), ("two", "2"))


async def test_what_another_conversation_goes_on_from_stays(acts: Acts) -> None:
    accepted = await acts.accept()
    await acts.run(accepted)
    fork = await acts.accept()
    await acts.db.write_one(
        update(conversations)
        .where(conversations.c.id == fork.generation.conversation_id)
        .values(forked_from=accepted.generation.id)
    )
    await acts.run(fork)
    await acts.elapse(2 * MONTH)
    assert (await remove(acts)).generations == 1
    assert await is_there(acts, accepted.generation.id)


async def test_a_deleted_personas_content_is_gone_for_good(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "x"}), change({"a.md": "y"}), owner="bob")
    recent = await acts.persona(change({"a.md": "z"}), owner="bob")
    await delete_persona(acts.db, "bob", persona)
    await acts.db.write_one(
        update(personas)
        .where(personas.c.id == persona)
        .values(deleted_at=personas.c.deleted_at - round(2 * MONTH * 1000))
    )
    await delete_persona(acts.db, "bob", recent)
    await acts.elapse(2 * MONTH)
    # The second one was deleted just now: it may still be wanted back.
    assert await remove(acts) == Removed(generations=2, personas=1, logs=None)
    rows = await acts.db.fetch(select(personas.c.id, personas.c.name, personas.c.brief))
    assert {row.id: (row.name, row.brief) for row in rows} == {
        persona: ("", ""),
        recent: ("Ann", "a brief"),
    }
    assert await count(acts.db, persona_files) == await count(acts.db, persona_versions) == 1
    with pytest.raises(NotFound):
        await anext(export_files(acts.db, "bob", persona))


async def test_each_owners_feed_is_told_what_went(acts: Acts, redis_url: str) -> None:
    anns = [await acts.accept() for _ in range(2)]
    bobs = await acts.accept(owner="bob")
    for accepted in (*anns, bobs):
        await acts.run(accepted)
    await acts.elapse(2 * MONTH)
    told: dict[str, list[bytes]] = {"ann": [], "bob": []}
    async with Redis.from_url(redis_url) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(*map(keys.feed, told))
        await remove(acts, dry_run=True, url=redis_url)
        assert (await remove(acts, url=redis_url)).generations == 3
        await redis.publish(keys.feed("bob"), b"the end")
        async for message in pubsub.listen():
            if message["data"] == b"the end":
                break
            if message["type"] == "message":
                told[message["channel"].decode().rpartition(":")[2]].append(message["data"])

    def gone(*accepted: Accepted) -> list[bytes]:
        some = (one.generation for one in accepted)
        each = tuple(DeletedGeneration(one.id, one.conversation_id) for one in some)
        return [Deletion(generations=each).message()]

    assert told == {"ann": gone(*anns), "bob": gone(bobs)}


async def test_it_goes_in_batches_past_what_must_stay(
    acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    kept = await acts.persona(*(change({f"{n}.md": "x"}) for n in range(3)))
    for _ in range(5):
        await ended(acts)
    await acts.elapse(2 * MONTH)
    heard: list[int] = []
    async with open_redis(NOWHERE) as redis:
        removed = await remove_old(acts.db, redis, MONTH, advance=heard.append)
    assert removed.generations == 5
    assert heard == [2, 2, 1]
    assert (await read_persona(acts.db, "ann", kept)).version == 3


async def test_logs_of_what_is_old_or_gone_are_deleted(acts: Acts, redis_url: str) -> None:
    old = await ended(acts)
    await acts.elapse(2 * MONTH)
    await acts.worker("wrk_1")
    recent = await ended(acts)
    running = await acts.accept()
    await acts.claimed(running.generation.id)
    stay = {recent, running.generation.id}
    async with Redis.from_url(redis_url) as redis:
        for one in (old, "gen_of_another_time", *stay):
            await redis.xadd(keys.log(one), {"f": "x"}, id="1-1")
        assert (await remove(acts, dry_run=True, url=redis_url)).logs == 2
        assert len(await redis.keys("*")) == 4
        assert (await remove(acts, url=redis_url)).logs == 2
        assert {key.decode() for key in await redis.keys("*")} == {keys.log(one) for one in stay}
