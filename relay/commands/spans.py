"""Spans of time as a command line says them: `30m`, `12h`, `90d`, `2w`."""

import re

import typer

LONGEST_SECONDS = 100 * 365 * 86_400

_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_span(text: str, option: str, otherwise: str = "") -> int:
    """The seconds that a span such as `90d` means; raises BadParameter of this option.

    `otherwise` ends the reason: what else the option takes.
    """
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_SECONDS:
        reason = f"is no span up to 100 years such as 30m, 12h, 90d, 2w{otherwise}"
        raise typer.BadParameter(f"{text!r} {reason}", param_hint=option)
    return seconds
