"""`persona-relay`: every command, each a thin door to what does the work."""

import sys
from collections.abc import Sequence

import typer

from relay.commands import doctor, generations, journal, personas, processes, retention, tokens
from relay.commands.showing import one_line

app = typer.Typer(
    name="persona-relay",
    help="AI generations that outlive the request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("dev")(processes.dev)
app.command("serve")(processes.serve)
app.command("worker")(processes.worker)
app.command("migrate")(processes.migrate)
app.command("demo-model")(processes.demo_model)
app.add_typer(tokens.app, name="tokens")
app.add_typer(generations.app, name="generations")
app.add_typer(journal.app, name="journal")
app.add_typer(personas.app, name="personas")
app.command("retention")(retention.retention)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The command line as a process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs a command; the exit status: 0, 1 for an error, 2 for wrong usage, 130 for Ctrl-C.

    An error is one line on stderr. With `python -X dev` it is a traceback.
    """
    try:
        status = app(arguments, prog_name="persona-relay", standalone_mode=False)
    except typer.TyperException as error:
        _say(error.format_message())
        return error.exit_code
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        _say(_reason(error))
        return 1
    return status if isinstance(status, int) else 0


def _say(text: str) -> None:
    if "\n" in text:
        # No error: the help page of a group that was named without a command.
        typer.echo(text, err=True)
    else:
        typer.echo(f"persona-relay: {one_line(text)}", err=True)


def _reason(error: Exception) -> str:
    from jobs.errors import JobsError
    from jobs.settings import InvalidSetting

    if isinstance(error, (JobsError, InvalidSetting)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, UnicodeEncodeError):
        # Bytes of the command line that are no UTF-8 arrive as lone surrogates.
        return f"{error.object!r} is no text in UTF-8"
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
