"""How both processes log: one line an event on stderr, its facts as key=value after the message."""

import logging
import sys

import structlog

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


def configure_logging(level: int = logging.INFO) -> None:
    """Sends every logger to stderr; to be called once a process, at its start."""
    renderer = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_NoUnfinishedBody())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quieter in QUIET.items():
        logging.getLogger(name).setLevel(quieter)
