"""What a command works with: the database, and where it hints or follows also Redis."""

import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jobs.database import Database, database_url, schema_is_current
from jobs.database_errors import refuses
from jobs.errors import JobsError, Unavailable
from relay.commands.showing import note
from relay.services import Services, connect
from relay.settings import read_relay_settings


class NoDatabase(JobsError):
    """The SQLite file is not there; a command that only looks would make an empty one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no database at {path}: run `persona-relay migrate`")
        self.path = path


class SchemaUnfit(JobsError):
    """The database has another schema than this version's."""

    def __init__(self) -> None:
        super().__init__(
            "the database's schema is not this version's: run `persona-relay migrate` of the newest"
        )


class DatabaseRefused(JobsError):
    """The database answered, and with a refusal, such as of a password; or is not to be trusted."""

    def __init__(self, error: Exception) -> None:
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", None) or error.reason
            super().__init__(f"the database's TLS is not to be trusted: {reason}")
            return
        reason = error.orig if isinstance(error, DBAPIError) else error
        super().__init__(f"the database refuses: {reason}")


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raises DatabaseRefused for what a database driver says and the store has no word for.

    A refusal that the store waits out is told in the driver's words too: an operator can mend it.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseRefused(error) from error
    except Unavailable as error:
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError):
            raise DatabaseRefused(cause) from error
        if refuses(cause) and isinstance(cause, SQLAlchemyError):
            raise DatabaseRefused(cause) from error
        raise


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """The database at this address, which must be there.

    Raises InvalidSetting, NoDatabase, SchemaUnfit and DatabaseRefused.
    """
    # An operator's command speaks for itself; what libraries log would be a second voice.
    logging.getLogger().addHandler(logging.NullHandler())
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not (path := Path(str(parsed.database))).exists():
        raise NoDatabase(path)
    with refusals_told():
        async with Database.open(url) as database:
            try:
                yield database
            except SQLAlchemyError as error:
                if not await schema_is_current(database):
                    raise SchemaUnfit from error
                raise


@asynccontextmanager
async def open_operator() -> AsyncIterator[Services]:
    """A relay's services for an operator: no stream is limited, and no rescuer runs beside them.

    Redis may be away: hints are lost then, which is said at the end. Raises what `open_database`
    does.
    """
    # Whoever reaches the database needs no ticket, so no secret to sign one.
    unlimited = {"RELAY_AUTH": "off", "RELAY_OWNER_STREAMS": "0"}
    settings = read_relay_settings({**os.environ, **unlimited})
    async with (
        open_database(settings.jobs.relay_database_url) as database,
        connect(settings, database) as services,
    ):
        yield services
        if services.signals.failures or services.queue.failures:
            note("Redis is not reachable: it takes effect when a worker or a relay finds the row")
