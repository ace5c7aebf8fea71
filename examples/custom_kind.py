"""A kind of an app's own: summarises, and keeps the summary in the app's table with the answer.

export RELAY_KINDS=custom_kind:SUMMARY PYTHONPATH=examples  # where relays and workers run
curl … -d '{"kind": "summary", "input": "…"}' $RELAY/v1/generations
"""

from sqlalchemy import Column, MetaData, String, Table, Text, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.kinds import Asked, Completed, CustomKind, Prompt

# In the database of RELAY_DATABASE_URL, made by the app's own migrations.
summaries = Table(
    "app_summaries",
    MetaData(),
    Column("generation_id", String(40), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("summary", Text, nullable=False),
)


def refuses(text: str) -> str | None:
    """Asked by the relay: why this input is a 422, or None."""
    return "is too short to be summarised" if len(text) < 40 else None


async def prompt(asked: Asked) -> Prompt:
    """Asked by the worker, in each attempt; `asked.history` is what was said before."""
    system = {"role": "system", "content": "Summarise what you are given in two sentences."}
    return Prompt([system, {"role": "user", "content": asked.input}])


async def keep(connection: AsyncConnection, done: Completed) -> None:
    """Within the transaction that commits the answer: both are stored once, or neither is."""
    row = {"generation_id": done.generation.id, "owner": done.owner, "summary": done.text}
    await connection.execute(insert(summaries), row)


SUMMARY = CustomKind(name="summary", refuses=refuses, prompt=prompt, on_completed=keep)
