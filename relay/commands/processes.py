"""The commands that are processes of the system: dev, serve, worker, migrate, demo-model."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from relay.commands.progress import progress_of

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]


def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(
        ".persona-relay"
    ),
) -> None:
    """Run the whole system: Valkey, SQLite, worker, relay, page, and a scripted demo model."""
    import uvloop

    from relay.data_dir import own_data_dir
    from relay.dev import run
    from relay.dev_plan import environment_with_dotenv, make_plan
    from relay.listening import Address, listen, listening_at

    # Refused here, before anything is started.
    with listen(Address(host, port)) as probe:
        address = listening_at(probe, host)
    data_dir = data_dir.resolve()
    with own_data_dir(data_dir):
        plan = make_plan(environment_with_dotenv(), address, data_dir)
        status = uvloop.run(run(plan, typer.echo, lambda line: typer.echo(line, err=True)))
        # Everything has ended: a late Ctrl-C must not make an error of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise typer.Exit(status)


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    demo: Annotated[bool, typer.Option("--demo", hidden=True)] = False,
) -> None:
    """Run the relay alone."""
    from relay.listening import Address
    from relay.server import serve as run_server
    from relay.settings import read_relay_settings

    run_server(read_relay_settings(), Address(host, port), demo=demo)


def worker() -> None:
    """Run one worker process."""
    # The relay never imports what runs a generation: this process becomes the worker. Safe path: a
    # folder here that is called `jobs` is not the project's.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "jobs"])


def migrate() -> None:
    """Bring the database to the newest schema."""
    from jobs.database import migrate as migrate_database
    from jobs.settings import Settings, read_settings
    from relay.commands.opening import refusals_told

    with refusals_told(), progress_of("migrating") as told:
        asyncio.run(migrate_database(read_settings(Settings).relay_database_url, told))


def demo_model(host: Host = "127.0.0.1", port: Port = 8100) -> None:
    """Run the scripted OpenAI-compatible model server: no LLM, and it says so."""
    from relay.demo_model import serve as serve_demo_model

    serve_demo_model(host, port)
