"""`persona-relay tokens`: made, listed, revoked (protocol §2)."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from relay.commands.showing import JSON, emit, note, table
from relay.commands.spans import read_span

if TYPE_CHECKING:
    from jobs.database import Database
    from jobs.store.tokens import TokenRow

SCOPES = ("read", "generate", "admin")
NEVER = "never"

app = typer.Typer(help="API tokens: create, list, revoke.", no_args_is_help=True)

_MOST_CHARACTERS = 200


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    owner: Annotated[str, typer.Option(help="Whose resources it reaches.")] = "local",
    scope: Annotated[
        str, typer.Option(help="Of read, generate (reads too) and admin (both), split by commas.")
    ] = "generate,read",
    expires: Annotated[
        str, typer.Option(help="How long it holds: 30m, 12h, 90d, 2w, or never.")
    ] = "90d",
    json: JSON = False,
) -> None:
    """Make a token; it is shown this once, and kept as a hash only."""
    _check_text("NAME", name)
    _check_text("--owner", owner)
    token, row = asyncio.run(_create(name, owner, read_scopes(scope), read_expiry(expires)))
    if json:
        emit({"token": token, **msgspec.to_builtins(row)})
        return
    until = f"until {row.expires_at}" if row.expires_at else "for ever"
    note(f"{name}: {', '.join(row.scopes)} of {row.owner}, {until}; it is not shown again")
    typer.echo(token)


@app.command("list")
def list_all(json: JSON = False) -> None:
    """List all tokens, revoked and expired ones too; never the tokens themselves."""
    rows = asyncio.run(_list())
    if json:
        emit({"data": rows, "next_cursor": None})
        return
    table(
        ("PREFIX", "NAME", "OWNER", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "REVOKED"),
        (
            (
                row.prefix,
                row.name,
                row.owner,
                ",".join(row.scopes),
                row.created_at,
                row.expires_at or NEVER,
                row.last_used_at or NEVER,
                row.revoked_at,
            )
            for row in rows
        ),
    )


@app.command()
def revoke(
    prefix: Annotated[
        str,
        typer.Argument(metavar="PREFIX", help="The token's first 12 characters, or all of it."),
    ],
    json: JSON = False,
) -> None:
    """Refuse a token from the next request on; its open streams end within a minute."""
    from jobs.store.tokens import PREFIX_CHARACTERS

    # Whoever pastes a leaked token whole is not told it once more.
    row = asyncio.run(_revoke(prefix[:PREFIX_CHARACTERS]))
    if json:
        emit(row)
    else:
        typer.echo(f"{row.prefix} is revoked: {row.name} of {row.owner}")


def read_scopes(text: str) -> tuple[str, ...]:
    """The scopes in a list split by commas, each once; raises BadParameter."""
    given = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for scope in given:
        if scope not in SCOPES:
            raise typer.BadParameter(
                f"{scope!r} is none of {', '.join(SCOPES)}", param_hint="--scope"
            )
    return given


def read_expiry(text: str) -> int | None:
    """The seconds that a span means, None for `never`; raises BadParameter."""
    return None if text == NEVER else read_span(text, "--expires", ", and not never")


def _check_text(name: str, text: str) -> None:
    from jobs.clean import unacceptable

    reason = unacceptable(text)
    if not text.strip():
        reason = "is empty"
    elif len(text) > _MOST_CHARACTERS:
        reason = f"is longer than {_MOST_CHARACTERS} characters"
    if reason:
        raise typer.BadParameter(reason, param_hint=name)


async def _create(
    name: str, owner: str, scopes: tuple[str, ...], seconds: int | None
) -> "tuple[str, TokenRow]":
    from jobs.store.tokens import create_token

    expires_at = None if seconds is None else round((time.time() + seconds) * 1000)
    async with _database() as database:
        return await create_token(database, name, owner, scopes, expires_at)


async def _list() -> "tuple[TokenRow, ...]":
    from jobs.store.tokens import list_tokens

    async with _database() as database:
        return await list_tokens(database)


async def _revoke(prefix: str) -> "TokenRow":
    from jobs.store.tokens import revoke_token

    async with _database() as database:
        return await revoke_token(database, prefix)


def _database() -> "AbstractAsyncContextManager[Database]":
    from jobs.settings import Settings, read_settings
    from relay.commands.opening import open_database

    return open_database(read_settings(Settings).relay_database_url)
