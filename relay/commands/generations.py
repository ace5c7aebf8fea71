"""`persona-relay generations`: an operator's list, show, tail, cancel and retry, of all owners."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from jobs.generation import Generation, Kind, State
from relay.commands.showing import JSON, details, emit, inert, shortened, table

if TYPE_CHECKING:
    from jobs.store.commits import CancelOutcome
    from jobs.store.intake import Accepted
    from jobs.store.pages import Page

app = typer.Typer(
    help="Generations of all owners: list, show, tail, cancel, retry.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The generation's id, gen_….")]


@app.command("list")
def list_page(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100)] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on after a page: its next_cursor.")] = None,
    json: JSON = False,
) -> None:
    """List generations, newest first."""
    page, owners = asyncio.run(_list(owner, state, kind, limit, cursor))
    if json:
        data = [_with_owner(one, owners.get(one.id)) for one in page.data]
        emit({"data": data, "next_cursor": page.next_cursor})
        return
    table(
        ("ID", "OWNER", "KIND", "STATE", "ATTEMPT", "CREATED", "MODEL", "INPUT"),
        (
            (
                one.id,
                owners.get(one.id),
                one.kind,
                one.state if one.error is None else f"{one.state} ({one.error.code})",
                one.attempt,
                one.created_at,
                one.model,
                shortened(one.input),
            )
            for one in page.data
        ),
    )
    if page.next_cursor is not None:
        typer.echo(f"more: --cursor {page.next_cursor}", err=True)


@app.command()
def show(id: Id, json: JSON = False) -> None:
    """Show a generation with its text."""
    one, owner = asyncio.run(_show(id))
    if json:
        emit(_with_owner(one, owner))
        return
    output, usage, error = one.output, one.usage, one.error
    details(
        [
            ("id", one.id),
            ("owner", owner),
            ("kind", one.kind),
            ("state", one.state),
            ("attempt", one.attempt),
            ("model", one.model),
            ("conversation", one.conversation_id),
            ("persona", one.persona_id),
            ("created", one.created_at),
            ("started", one.started_at),
            ("finished", one.finished_at),
            ("expires", one.expires_at if one.state is State.QUEUED else None),
            ("error", error and f"{error.code}: {error.message}"),
            ("retryable", error and ("yes" if error.retryable else "no")),
            ("finish reason", output and output.finish_reason),
            ("version", output and output.persona_version),
            ("files", output and (", ".join(f"{f.op} {f.path}" for f in output.files) or None)),
            ("skills", output and (", ".join(s.matched or "-" for s in output.skills) or None)),
            ("tokens", usage and f"{usage.input_tokens} in, {usage.output_tokens} out"),
        ]
    )
    typer.echo(f"\ninput:\n{inert(one.input)}")
    if output is not None and output.text:
        typer.echo(f"\noutput ({output.characters} characters):\n{inert(output.text)}")


@app.command()
def tail(id: Id, json: JSON = False) -> None:
    """Follow a generation live to its end: its text on stdout, the rest on stderr.

    The exit status is 0 if it completed, and else 1. Ctrl-C stops the following, not the
    generation.
    """
    state = asyncio.run(_tail(id, json))
    raise typer.Exit(0 if state is State.COMPLETED else 1)


@app.command()
def cancel(id: Id, json: JSON = False) -> None:
    """Cancel a generation: at once while it waits, else within 2 s; again is harmless."""
    outcome = asyncio.run(_cancel(id))
    one = outcome.generation
    if json:
        emit(one)
    elif outcome.ended_now:
        typer.echo(f"{id} is cancelled")
    elif one.state.terminal:
        typer.echo(f"{id} had ended: {one.state}")
    else:
        typer.echo(f"{id} is being cancelled")


@app.command()
def retry(
    id: Id,
    on_active: Annotated[
        Literal["reject", "queue", "interrupt"],
        typer.Option(help="What to do when its conversation has an active generation."),
    ] = "reject",
    json: JSON = False,
) -> None:
    """Ask once more for one that failed, expired or was cancelled: prints the new one's id.

    The new generation has the same kind, input, model and conversation (a generate makes a persona
    of its own, with the same name) and passes the same limits as any other.
    """
    accepted = asyncio.run(_retry(id, on_active))
    if json:
        emit(accepted.generation)
    else:
        typer.echo(accepted.generation.id)


def _with_owner(one: Generation, owner: str | None) -> dict[str, object]:
    return {"owner": owner, **msgspec.to_builtins(one)}


async def _list(
    owner: str | None, state: State | None, kind: str | None, limit: int, cursor: str | None
) -> "tuple[Page[Generation], dict[str, str]]":
    from jobs.kinds_setting import load_kinds
    from jobs.settings import Settings, read_settings
    from jobs.store.reads import list_generations, read_owners
    from relay.commands.opening import open_database

    settings = read_settings(Settings)
    names = load_kinds(settings.relay_kinds).names
    if kind is not None and kind not in names:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(names)}.", param_hint="--kind")
    only = None if kind is None else Kind(kind)
    async with open_database(settings.relay_database_url) as database:
        page = await list_generations(database, owner, state, only, limit, cursor)
        owners = await read_owners(database, [one.id for one in page.data])
    return page, owners


async def _show(id: str) -> tuple[Generation, str | None]:
    from jobs.settings import Settings, read_settings
    from jobs.store.reads import read_generation, read_stream_row
    from relay.commands.opening import open_database

    settings = read_settings(Settings)
    async with open_database(settings.relay_database_url) as database:
        one = await read_generation(database, None, id)
        row = await read_stream_row(database, id, lease_seconds=settings.relay_lease_seconds)
    return one, None if row is None else row.owner


async def _tail(id: str, json: bool) -> State:
    from relay.commands import tail
    from relay.commands.opening import open_operator

    async with open_operator() as services:
        show = tail.show_as_json if json else tail.ShowText()
        return await tail.tail(services, id, show)


async def _cancel(id: str) -> "CancelOutcome":
    from jobs.errors import NotFound
    from jobs.store.commits import request_cancel
    from jobs.store.reads import read_stream_row
    from relay.commands.opening import open_operator
    from relay.streaming import announce_cancel

    async with open_operator() as services:
        lease = services.settings.jobs.relay_lease_seconds
        row = await read_stream_row(services.db, id, lease_seconds=lease)
        if row is None:
            raise NotFound(id)
        outcome = await request_cancel(services.db, row.owner, id)
        await announce_cancel(services, row.owner, outcome)
    return outcome


async def _retry(id: str, on_active: Literal["reject", "queue", "interrupt"]) -> "Accepted":
    from relay.commands import retry
    from relay.commands.opening import open_operator

    async with open_operator() as services:
        return await retry.retry(services, id, on_active)
