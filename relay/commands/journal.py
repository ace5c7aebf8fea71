"""`persona-relay journal`: verify, stats, show and replay, over all journals of this machine.

The workers of one machine share RELAY_JOURNAL_DIR: one holds the directory itself, the others `2`,
`3`, … in it. Reading needs no lock, so it goes on beside live workers; a replay needs it.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.commands.progress import progress_of
from relay.commands.showing import JSON, emit, note, table

if TYPE_CHECKING:
    from relay.commands.replay import Replayed

app = typer.Typer(
    help="The workers' append-only journal: verify, stats, show, replay.", no_args_is_help=True
)

Directory = Annotated[
    Path | None, typer.Option("--dir", help="The journal's directory; RELAY_JOURNAL_DIR if absent.")
]


@app.command()
def verify(directory: Directory = None, json: JSON = False) -> None:
    """Read every record: exit status 0 when all is whole, 1 with the offset of the damage."""
    from jobs import journal

    places = _asked(directory)
    with progress_of("reading") as told:
        reports = [journal.verify(place, told) for place in places]
    whole = all(report.whole for report in reports)
    if json:
        found = [
            {
                "path": str(report.path),
                "whole": report.whole,
                **report.stats,
                "torn_bytes": report.torn_bytes,
                "damaged_at": report.damage and report.damage.offset,
                "reason": report.damage and report.damage.reason,
            }
            for report in reports
        ]
        emit({"whole": whole, "journals": found})
    else:
        for report in reports:
            if report.damage is not None:
                typer.echo(f"persona-relay: {report.damage}", err=True)
                continue
            torn = f", a torn last record of {report.torn_bytes} bytes" if report.torn_bytes else ""
            counts = f"{report.stats['total']} records, {report.stats['pending']} pending"
            typer.echo(f"{report.path} is whole: {counts}{torn}")
    raise typer.Exit(0 if whole else 1)


@app.command()
def stats(directory: Directory = None, json: JSON = False) -> None:
    """Count the records, their bytes, and those that wait for their replay."""
    from jobs.journal import Journal

    rows = []
    for place in _asked(directory):
        with Journal.inspect(place) as view:
            rows.append((view.path, view.stats()))
    total = {
        "total": sum(one["total"] for _, one in rows),
        "bytes": sum(one["bytes"] for _, one in rows),
        "pending": sum(one["pending"] for _, one in rows),
    }
    if json:
        emit(total)
        return
    shown = [(str(path), one["total"], one["bytes"], one["pending"]) for path, one in rows]
    if len(shown) > 1:
        shown.append(("all", total["total"], total["bytes"], total["pending"]))
    table(("JOURNAL", "TOTAL", "BYTES", "PENDING"), shown)


@app.command()
def show(
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="<generation>:<attempt>, as in the record.")
    ],
    directory: Directory = None,
) -> None:
    """Print a record: exactly its bytes, one line of JSON; an unknown id is an error."""
    from jobs.journal import EventUnknown, Journal

    for place in _asked(directory):
        with Journal.inspect(place) as view, suppress(EventUnknown):
            sys.stdout.buffer.write(view.read(event_id) + b"\n")
            sys.stdout.buffer.flush()
            return
    raise EventUnknown(event_id)


@app.command("replay")
def replay_all(directory: Directory = None, json: JSON = False) -> None:
    """Bring what is pending to the database, under the fence of each record's attempt.

    A journal that a live worker holds is left to it, and said. The exit status is 1 when anything
    stays pending or could not be looked at.
    """
    places = _asked(directory)
    counts = {"replayed": 0, "refused": 0, "left": 0}
    problems: tuple[str, ...] = ()
    if places:
        done = asyncio.run(_replay(places))
        counts = {"replayed": done.replayed, "refused": done.refused, "left": done.left}
        problems = done.problems
    if json:
        emit(counts)
    else:
        said = (f"{number} {name}" for name, number in counts.items())
        typer.echo(", ".join(said))
    for problem in problems:
        typer.echo(f"persona-relay: {problem}", err=True)
    raise typer.Exit(1 if problems else 0)


def journals(directory: Path) -> list[Path]:
    """Where there is a journal: the directory, and `2`, `3`, … in it, in this order."""
    places = [directory] if (directory / "journal.jsonl").exists() else []
    found = (path.parent for path in directory.glob("*/journal.jsonl"))
    numbered = [place for place in found if place.name.isdecimal()]
    return places + sorted(numbered, key=lambda place: int(place.name))


def _asked(directory: Path | None) -> list[Path]:
    from jobs.settings import Settings, read_settings

    if directory is not None and not directory.is_dir():
        raise typer.BadParameter(f"there is no directory {directory}", param_hint="--dir")
    asked = directory or Path(read_settings(Settings).relay_journal_dir)
    places = journals(asked)
    if not places:
        note(f"there is no journal in {asked}")
    return places


async def _replay(places: list[Path]) -> "Replayed":
    from relay.commands import replay
    from relay.commands.opening import open_operator

    async with open_operator() as services:
        with progress_of("replaying") as told:
            return await replay.replay_journals(services, places, told)
