"""Old generations, deleted personas and forgotten logs are deleted a batch at a time, or counted.

What may go is decided by `store/retention.py`. Stopped anywhere, it goes on with the next run.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from jobs import keys
from jobs.database import Database
from jobs.deleted import DeletedGeneration, by_owner
from jobs.redis_link import REDIS_FAILURES
from jobs.store.retention import (
    Place,
    delete_generations,
    empty_persona,
    find_deleted_personas,
    find_old,
    moment_before,
    without_recent,
)

logger = logging.getLogger(__name__)

BATCH = 200
"""Rows of a transaction: some milliseconds, for which SQLite's other writers wait."""


class Removed(msgspec.Struct, frozen=True):
    """What was deleted, or would be.

    `logs` is None where Redis could not be asked: a log expires by itself.
    """

    generations: int
    personas: int
    logs: int | None


async def remove_old(
    db: Database,
    redis: Redis,
    older_than_seconds: float,
    *,
    dry_run: bool = False,
    advance: Callable[[int], None] = lambda done: None,
) -> Removed:
    """Deletes what ended longer ago than this; `advance` hears of each batch.

    A dry run deletes nothing and gives the same figures. Raises Unavailable and CommitUnknown.
    """
    before = await moment_before(db, older_than_seconds)
    emptied = await _personas(db, before, dry_run)
    removed = await _generations(db, redis, before, dry_run, advance)
    try:
        logs = await _logs(db, redis, before, dry_run)
    except REDIS_FAILURES:
        logs = None
    return Removed(removed, emptied, logs)


async def _personas(db: Database, before: int, dry_run: bool) -> int:
    emptied, after = 0, ""
    while found := await find_deleted_personas(db, before, after, BATCH):
        for after in found:
            if not dry_run:
                async with _leisurely():
                    await empty_persona(db, after, BATCH)
        emptied += len(found)
    return emptied


async def _generations(
    db: Database, redis: Redis, before: int, dry_run: bool, advance: Callable[[int], None]
) -> int:
    removed, place, telling = 0, Place(), True
    while found := await find_old(db, before, place, BATCH):
        place = found[-1]
        done = len(found)
        if not dry_run:
            async with _leisurely():
                gone = await delete_generations(db, before, [one.id for one in found])
            done = len(gone)
            # Where Redis is away each call lasts its timeout.
            telling = telling and await _tell(redis, gone)
        removed += done
        advance(done)
    return removed


async def _tell(redis: Redis, gone: list[tuple[str, DeletedGeneration]]) -> bool:
    """Tells the owners' feeds; False where Redis could not be asked."""
    try:
        for owner, deletion in by_owner(gone).items():
            await redis.publish(keys.feed(owner), deletion.message())
    except REDIS_FAILURES as error:
        logger.warning("open pages are not told what was deleted: %s", error)
        return False
    return True


async def _logs(db: Database, redis: Redis, before: int, dry_run: bool) -> int:
    removed = 0
    cursor = 0
    prefix = keys.log("")
    while True:
        cursor, found = await redis.scan(cursor, match=f"{prefix}*", count=BATCH)
        ids = [key.decode().removeprefix(prefix) for key in found]
        old = await without_recent(db, before, ids) if ids else []
        if old and not dry_run:
            await redis.unlink(*map(keys.log, old))
        removed += len(old)
        if not cursor:
            return removed


@asynccontextmanager
async def _leisurely() -> AsyncIterator[None]:
    """Rests as long as the block took, so that others get at the database in between."""
    began = time.monotonic()
    yield
    await asyncio.sleep(time.monotonic() - began)
