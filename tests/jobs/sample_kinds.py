"""Kinds of an imagined application, and the table that it keeps in the same database."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, MetaData, String, Table, Text, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database
from jobs.kinds import Asked, Completed, CustomKind, Kinds, Prompt, Tool

kept = Table(
    "app_kept",
    MetaData(),
    Column("generation_id", String(40)),
    Column("owner", String(200)),
    Column("text", Text),
)


async def make_table(db: Database) -> None:
    """The application's own migration; an earlier test may have left the table."""

    async def make(connection: AsyncConnection) -> None:
        await connection.run_sync(kept.metadata.drop_all)
        await connection.run_sync(kept.metadata.create_all)

    await db.write(make)


async def kept_rows(db: Database) -> list[tuple[str, str, str]]:
    """What the application's table holds."""
    rows = await db.fetch(kept.select())
    return [(row.generation_id, row.owner, row.text) for row in rows]


async def say_it(asked: Asked) -> Prompt:
    """The input alone, after what was said before."""
    before = [{"role": "user", "content": said} for said, _ in asked.history]
    return Prompt([*before, {"role": "user", "content": asked.input}])


async def keep(connection: AsyncConnection, done: Completed) -> None:
    """A row beside the turn."""
    row = {"generation_id": done.generation.id, "owner": done.owner, "text": done.text}
    await connection.execute(insert(kept), row)


async def keep_and_break(connection: AsyncConnection, done: Completed) -> None:
    """Writes, and breaks off."""
    await keep(connection, done)
    raise RuntimeError("the application has a defect")


async def keep_and_call(connection: AsyncConnection, done: Completed) -> None:
    """Writes, and asks some other server, which is away."""
    await keep(connection, done)
    raise ConnectionRefusedError("the application's server is away")


async def keep_and_wait(connection: AsyncConnection, done: Completed) -> None:
    """Writes, and never comes back."""
    await keep(connection, done)
    await asyncio.Event().wait()


async def keep_and_roll_back(connection: AsyncConnection, done: Completed) -> None:
    """Writes, and ends a transaction that is not its own."""
    await keep(connection, done)
    await connection.rollback()


async def write_nowhere(connection: AsyncConnection, done: Completed) -> None:
    """Writes into a table that is not there."""
    await connection.execute(text("INSERT INTO app_nowhere VALUES (1)"))


def refuses_shouting(said: str) -> str | None:
    """Takes no capitals."""
    return "is all capitals" if said.isupper() else None


async def look_up(arguments: Mapping[str, Any]) -> str:
    """A tool that knows one word."""
    return {"tide": "the sea's \ud800 rise and fall"}[arguments["word"]]


LOOK_UP = Tool("look_up", "Explains a word.", {"type": "object"}, look_up)


async def with_tools(asked: Asked) -> Prompt:
    """The input, and a tool."""
    return Prompt([{"role": "user", "content": asked.input}], [LOOK_UP])


async def without_prompt(asked: Asked) -> Prompt:
    """Breaks off before the model is asked."""
    raise RuntimeError("the application has a defect")


KEEPING = CustomKind(name="keeping", prompt=say_it, refuses=refuses_shouting, on_completed=keep)
LOOKING = CustomKind(name="looking", prompt=with_tools)
BREAKING = CustomKind(name="breaking", prompt=say_it, on_completed=keep_and_break)
CALLING = CustomKind(name="calling", prompt=say_it, on_completed=keep_and_call)
WAITING = CustomKind(name="waiting", prompt=say_it, on_completed=keep_and_wait)
ENDING = CustomKind(name="ending", prompt=say_it, on_completed=keep_and_roll_back)
NOWHERE = CustomKind(name="nowhere", prompt=say_it, on_completed=write_nowhere)
MUTE = CustomKind(name="mute", prompt=without_prompt)

ALL = (KEEPING, LOOKING, BREAKING, CALLING, WAITING, ENDING, NOWHERE, MUTE)
KINDS = Kinds(ALL)
SETTING = "tests.jobs.sample_kinds:ALL"
