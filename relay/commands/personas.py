"""`persona-relay personas`: exported as a zip; `backfill.py` rebuilds what is derived of them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relay.commands.backfill import backfill
from relay.commands.progress import Advance, progress

if TYPE_CHECKING:
    from jobs.database import Database
    from jobs.store.exports import ExportedPersona

app = typer.Typer(help="Personas: export, backfill.", no_args_is_help=True)
app.command("backfill")(backfill)

Write = Callable[[bytes], object]


@app.command()
def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The zip file to write; - for stdout.")
    ],
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]…", help="The personas' ids, per_….")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="All personas of this owner instead.")] = None,
) -> None:
    """Write newest versions as a zip, in constant memory.

    One persona gives its files; several, or an owner's, a folder each, named by id, with
    `persona.json` and `files/`. The zip file is there when it is whole, and not before.
    """
    if bool(ids) == (owner is not None):
        raise typer.BadParameter("give ids, or --owner, and not both", param_hint="ID")
    if output.is_dir():
        raise typer.BadParameter(f"{output} is a directory", param_hint="--output")
    export_to = _exporter(ids or [], owner)
    if output == Path("-"):
        asyncio.run(export_to(sys.stdout.buffer.write))
        sys.stdout.buffer.flush()
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            asyncio.run(export_to(file.write))
        os.replace(part, output)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    typer.echo(str(output))


def _exporter(ids: list[str], owner: str | None) -> Callable[[Write], Coroutine[Any, Any, None]]:
    """What writes the zip of these personas, or of this owner's."""

    async def export_to(write: Write) -> None:
        from jobs.settings import Settings, read_settings
        from jobs.store.exports import count_personas, export_personas, find_persona
        from relay.commands.opening import open_database
        from relay.export import zip_stream

        async with open_database(read_settings(Settings).relay_database_url) as database:
            if owner is not None:
                count = await count_personas(database, owner)
                if not count:
                    raise typer.BadParameter(f"{owner!r} has no persona", param_hint="--owner")
                found = export_personas(database, owner)
            else:
                # Looked up first: an unknown id is said before anything is written.
                known = [await find_persona(database, id) for id in dict.fromkeys(ids)]
                count, found = len(known), _each(known)
            with progress("exporting", count) as advance:
                alone = owner is None and count == 1
                files = _files(database, found, advance, in_folders=not alone)
                async for chunk in zip_stream(files):
                    write(chunk)

    return export_to


async def _each(known: "list[ExportedPersona]") -> "AsyncIterator[ExportedPersona]":
    for persona in known:
        yield persona


async def _files(
    database: "Database",
    found: "AsyncIterator[ExportedPersona]",
    advance: Advance,
    *,
    in_folders: bool,
) -> AsyncIterator[tuple[str, str]]:
    import msgspec

    from jobs.errors import NotFound
    from jobs.store.exports import export_files

    async for persona in found:
        files = export_files(database, persona.owner, persona.id)
        try:
            first = await anext(files, None)
        except NotFound:
            # Deleted since it was listed.
            advance(1)
            continue
        folder = ""
        if in_folders:
            folder = f"{persona.id}/files/"
            described = json.dumps(msgspec.to_builtins(persona), ensure_ascii=False, indent=2)
            yield f"{persona.id}/persona.json", described + "\n"
        if first is not None:
            yield folder + first.path, first.content
        async for file in files:
            yield folder + file.path, file.content
        advance(1)
