"""How a command shows what it found: JSON for programs, tables for people, notes on stderr.

What users and models wrote can't steer the terminal that shows it.
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]


def emit(value: Any) -> None:
    """Prints one line of JSON."""
    from jobs.generation import encode

    typer.echo(encode(value).decode())


def note(text: str) -> None:
    """Says something beside the result, in one line on stderr."""
    typer.echo(f"[{one_line(text)}]", err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns; into a file or a pipe, no cell is cut or wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else one_line(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else 100_000, highlight=False).print(made)


def details(fields: Iterable[tuple[str, object]]) -> None:
    """Prints named values, one a line; those that are None are left out."""
    shown = [(name, one_line(str(value))) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        typer.echo(f"{name:<{width}}  {value}")


def one_line(text: str) -> str:
    """The text on one line: what could steer a terminal is shown as what it is."""
    return "".join(_visible(character) for character in text)


def inert(text: str) -> str:
    """The text with its lines and tabs, and with nothing else that could steer a terminal."""
    return "".join(character if character in "\n\t" else _visible(character) for character in text)


def shortened(text: str, characters: int = 48) -> str:
    """The beginning of the text, marked when it is not the whole."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _visible(character: str) -> str:
    if character in "\r\n\t":
        return " "
    # Controls and surrogates, and the formats that turn or hide text; joiners are part of words.
    if unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING:
        return f"\\u{ord(character):04x}"
    return character


_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
