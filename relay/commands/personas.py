"""`persona-relay personas export`: a persona's newest version as a zip file."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = typer.Typer(help="Personas: export.", no_args_is_help=True)


@app.callback()
def personas() -> None:
    """Personas: export."""


@app.command()
def export(
    id: Annotated[str, typer.Argument(metavar="ID", help="The persona's id, per_….")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The zip file to write; - for stdout.")
    ],
) -> None:
    """Write a persona's newest version as a zip, one file in memory at a time.

    The zip file is there when it is whole, and not before.
    """
    if output == Path("-"):
        asyncio.run(_to_stdout(id))
        return
    part = output.with_name(output.name + ".part")
    try:
        asyncio.run(_to_file(id, part))
        os.replace(part, output)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    typer.echo(str(output))


async def _to_file(id: str, part: Path) -> None:
    with part.open("wb") as file:
        async for chunk in _zip(id):
            file.write(chunk)


async def _to_stdout(id: str) -> None:
    async for chunk in _zip(id):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


async def _zip(id: str) -> "AsyncIterator[bytes]":
    from sqlalchemy import select

    from jobs.errors import NotFound
    from jobs.settings import Settings, read_settings
    from jobs.store.personas import export_files
    from jobs.tables import personas as table
    from relay.commands.opening import open_database
    from relay.export import zip_stream

    async with open_database(read_settings(Settings).relay_database_url) as database:
        rows = await database.fetch(select(table.c.owner).where(table.c.id == id))
        if not rows:
            raise NotFound(id)
        files = export_files(database, rows[0].owner, id)
        async for chunk in zip_stream((one.path, one.content) async for one in files):
            yield chunk
