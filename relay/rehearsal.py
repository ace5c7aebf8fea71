"""What the first readers would wait for is done at the start: connections, compiled statements."""

import logging

from jobs.database import Database
from jobs.database_errors import DRIVER_ERRORS
from jobs.errors import Unavailable
from jobs.redis_link import REDIS_FAILURES
from jobs.store.reads import read_stream_row
from relay.sources import Sources

log = logging.getLogger(__name__)

NOBODY = "gen_00000000000000000000000000"
"""An id that no generation has: its time is before there were any."""
TIMES = 2
"""A statement is compiled when it comes for the second time (`jobs/sqlite_statements.py`)."""


async def rehearse(database: Database, sources: Sources) -> None:
    """Looks for nobody's generation as for a reader's; what is not up yet is left to the first."""
    try:
        for _ in range(TIMES):
            await read_stream_row(database, NOBODY, lease_seconds=sources.lease_seconds)
        await sources.stream_log.read_newest(NOBODY, None)
    except (Unavailable, *DRIVER_ERRORS, *REDIS_FAILURES) as error:
        log.info("the first readers will wait a little", extra={"reason": type(error).__name__})
