"""`persona-relay retention`: what is old is deleted, or with --dry-run counted."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from relay.commands.progress import progress
from relay.commands.showing import JSON, details, emit, note
from relay.commands.spans import read_span

if TYPE_CHECKING:
    from jobs.retention import Removed


def retention(
    older_than: Annotated[
        str, typer.Option(help="What ended longer ago than this: 12h, 90d, 8w.")
    ] = "90d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
    json: JSON = False,
) -> None:
    """Delete old generations with their turns and logs, and what deleted personas held.

    What has not ended stays, with its conversation; so does what made a version of a persona, or
    what another conversation goes on from. Stopped anywhere, the next run goes on.
    """
    seconds = read_span(older_than, "--older-than")
    removed = asyncio.run(_remove(seconds, dry_run))
    if json:
        emit({"dry_run": dry_run, "older_than_seconds": seconds, **msgspec.to_builtins(removed)})
        return
    would = "would be deleted" if dry_run else "deleted"
    logs = "Redis is not reachable; they expire by themselves"
    details(
        (
            ("generations", f"{removed.generations} {would}"),
            ("personas", f"{removed.personas} that were deleted {'would be ' * dry_run}emptied"),
            ("logs", logs if removed.logs is None else f"{removed.logs} {would}"),
        )
    )
    if dry_run:
        note("nothing was deleted")


async def _remove(seconds: int, dry_run: bool) -> "Removed":
    from jobs.redis_link import open_redis
    from jobs.retention import remove_old
    from jobs.settings import Settings, read_settings
    from relay.commands.opening import open_database

    settings = read_settings(Settings)
    async with (
        open_database(settings.relay_database_url) as database,
        open_redis(settings.relay_redis_url, connections=1) as redis,
    ):
        with progress("counting" if dry_run else "deleting", None) as advance:
            return await remove_old(database, redis, seconds, dry_run=dry_run, advance=advance)
