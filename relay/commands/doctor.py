"""`persona-relay doctor`: is everything there that generations need, and what to do if not."""

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from relay.commands.showing import JSON, emit, one_line

if TYPE_CHECKING:
    from relay.commands.checks import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(json: JSON = False) -> None:
    """Check Redis, the database, workers, the model's endpoint, clocks and the journal.

    The exit status is 1 when there is a problem, and 0 with warnings alone.
    """
    findings = asyncio.run(_examine())
    well = all(one.verdict != "problem" for one in findings)
    if json:
        emit({"ok": well, "checks": [asdict(one) for one in findings]})
    else:
        width = max(len(one.check) for one in findings)
        for one in findings:
            verdict = f"{one.verdict:<7}"
            if sys.stdout.isatty():
                verdict = typer.style(verdict, fg=_COLOURS[one.verdict])
            advice = f": {one.advice}" if one.advice else ""
            typer.echo(f"{verdict}  {one.check:<{width}}  {one_line(one.found + advice)}")
    raise typer.Exit(0 if well else 1)


async def _examine() -> "list[Finding]":
    from pathlib import Path

    from jobs.settings import Settings, read_settings
    from relay.commands.checks_redis import check_redis
    from relay.commands.checks_system import (
        check_database,
        check_journals,
        check_kinds,
        check_model,
        check_settings,
    )
    from relay.commands.journal import journals

    settings = read_settings(Settings)
    redis, database, model = await asyncio.gather(
        check_redis(settings.relay_redis_url), check_database(settings), check_model(settings)
    )
    journal = check_journals(journals(Path(settings.relay_journal_dir)))
    return [check_settings(), check_kinds(settings), *redis, *database, *model, *journal]
