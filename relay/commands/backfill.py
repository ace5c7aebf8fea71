"""`persona-relay personas backfill`: what is derived from personas, rebuilt with today's rules."""

import asyncio
import re
from collections import Counter
from typing import Annotated

import typer

from relay.commands.progress import progress
from relay.commands.showing import JSON, details, emit, note

_PERSONA_ID = re.compile("per_[0-9a-z]{26}", re.ASCII)


class Walk:
    """How far a walk has come: what became of how many, and the last id."""

    def __init__(self, after: str) -> None:
        self.became: Counter[str] = Counter()
        self.after = after


def backfill(
    owner: Annotated[str | None, typer.Option(help="Only this owner's; else everybody's.")] = None,
    after: Annotated[str, typer.Option(metavar="ID", help="Go on behind this persona.")] = "",
    per_second: Annotated[
        float, typer.Option(min=0.1, max=10_000, help="How many personas a second at most.")
    ] = 50.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare, and write nothing.")] = False,
    json: JSON = False,
) -> None:
    """Rebuild the system prompt, manifest and card of every newest version.

    After a new version of the catalogue or of the rules. Beside what runs; what is the same
    already is not written. Stopped, it says with which --after it goes on.
    """
    if after and not _PERSONA_ID.fullmatch(after):
        raise typer.BadParameter(f"{after!r} is no persona's id", param_hint="--after")
    walk = Walk(after)
    try:
        asyncio.run(_walk(walk, owner, per_second, dry_run))
    finally:
        # Also where it was stopped: what is done is done.
        if walk.after != after and not json:
            note(f"up to {walk.after}: --after {walk.after} goes on from here")
    figures = {name: walk.became[name] for name in ("rebuilt", "same", "refused")}
    if json:
        emit({"dry_run": dry_run, **figures, "after": walk.after or None})
    else:
        would = "would be rebuilt" if dry_run else "rebuilt"
        details(((would, figures["rebuilt"]), ("the same", figures["same"])))
    if figures["refused"]:
        raise typer.Exit(1)


async def _walk(walk: Walk, owner: str | None, per_second: float, dry_run: bool) -> None:
    from jobs.backfill import rebuild_derived
    from jobs.settings import Settings, read_settings
    from jobs.store.derived import count_derived
    from relay.commands.opening import open_database

    async with open_database(read_settings(Settings).relay_database_url) as database:
        total = await count_derived(database, owner, walk.after)
        with progress("comparing" if dry_run else "rebuilding", total) as advance:
            async for step in rebuild_derived(
                database, owner=owner, after=walk.after, per_second=per_second, dry_run=dry_run
            ):
                walk.became[step.became] += 1
                walk.after = step.persona_id
                if step.reason is not None:
                    note(f"{step.persona_id} is left as it is: {step.reason}")
                advance(1)
