"""How both processes log: one line an event on stderr, its facts as key=value, or as JSON.

A line tells whose it is: `request_id` within a request, `generation` and `attempt` within an
attempt, by whatever was started there. Secrets are masked as lines leave.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Literal

import structlog

from jobs.masking import Masking

LogFormat = Literal["logfmt", "json"]

QUIET = {
    # One line a request and one a job is noise here; both have their own logs where they matter.
    "arq": logging.WARNING,
    "httpx2": logging.WARNING,
    "openai": logging.WARNING,
    "alembic": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "uvicorn.error": logging.WARNING,
}


class _NoUnfinishedBody(logging.Filter):
    """Drops uvicorn's complaint about bodies that are left unfinished on purpose (protocol §5)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for that one message."""
        return "returned without completing response" not in str(record.msg)


class _Masked(logging.Formatter):
    """Lines of another formatter, without secrets."""

    def __init__(self, lines: logging.Formatter, masking: Masking) -> None:
        super().__init__()
        self._lines = lines
        self._masking = masking

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return self._masking(self._lines.format(record))


def line_formatter(form: LogFormat, secrets: Iterable[str] = ()) -> logging.Formatter:
    """What makes a line of a record; these secrets are masked in it."""
    first = ["timestamp", "level", "logger", "event"]
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=first, bool_as_flag=False)
    )
    lines = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    return _Masked(lines, Masking(secrets))


def configure_logging(
    form: LogFormat = "logfmt", secrets: Iterable[str] = (), level: int = logging.INFO
) -> None:
    """Sends every logger to stderr; to be called once a process, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(line_formatter(form, secrets))
    handler.addFilter(_NoUnfinishedBody())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quieter in QUIET.items():
        logging.getLogger(name).setLevel(quieter)
