"""What an error of a database driver means to the project: gone, unknown, taken, or a defect."""

import sqlite3

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.errors import JobsError, Unavailable

# A closed or broken connection, for the most part, and without a code.
_COMPLAINTS = (InterfaceError, InternalClientError)
DRIVER_ERRORS = (SQLAlchemyError, OSError, PostgresError, *_COMPLAINTS)
"""What a statement may raise; a time limit's TimeoutError is an OSError.

asyncpg's own pass SQLAlchemy as they are while it sets a new connection up.
"""

# Classes and codes of PostgreSQL's SQLSTATE. It lets nobody in: login, no such database (renamed
# while it is restored), "not currently accepting connections".
_REFUSING = frozenset({"28", "3D", "55000"})
# And else: connection, resources, operator, system, read-only, a transaction that stood still.
_AWAY = _REFUSING | {"08", "53", "57", "58", "25006", "25P03"}
# A lock that another session holds is free again at some time.
_COLLIDED_CODES = frozenset({"40001", "40P01", "55P03"})
# Unknown to an older server; not for its platform.
_SETTING_CODES = frozenset({"42704", "22023"})
# Data, constraints, limits of the program.
_OF_THE_VALUE = frozenset({"22", "23", "54"})
_SQLITE_AWAY_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_SQLITE_VALUE_CODES = frozenset(
    {
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
    }
)


class CommitUnknown(Unavailable):
    """The connection failed during COMMIT: what was written must be read to be known."""

    def __init__(self) -> None:
        super().__init__("the database")


class GivenUp(CommitUnknown):
    """This process has given the database up, and hears no more of it: asking again is in vain."""


class NotTaken(Unavailable):
    """The database answers, and refuses whatever it is given: rights, schema, damage.

    The same again may pass once somebody has mended it.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__("the database")
        told = error.driver_exception if isinstance(error, DBAPIError) else error
        self.reason = f"{type(told).__name__}: {told}".partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.what} does not take it: {self.reason}"


class UniqueViolation(JobsError):
    """A unique constraint refused the write; never leaves the store."""

    def __init__(self, constraint: str) -> None:
        super().__init__(f"{constraint} holds already")
        self.constraint = constraint


def meaning_of(error: Exception) -> Exception:
    """The project's error for a driver's one; the same error where it is a defect of ours."""
    if is_away(error) or has_collided(error):
        return Unavailable("the database")
    if isinstance(error, IntegrityError) and (constraint := _unique_constraint(error)):
        return UniqueViolation(constraint)
    return error


def is_away(error: Exception) -> bool:
    """Whether the database can't be reached or can't work at the moment."""
    if isinstance(error, (OSError, PoolTimeout, *_COMPLAINTS)):
        return True
    if not isinstance(error, DBAPIError | PostgresError):
        return False
    if was_cut(error):
        return True
    code = _sqlstate(error)
    if code is not None:
        return code[:2] in _AWAY or code in _AWAY
    if isinstance(error, PostgresError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        number = getattr(error.orig, "sqlite_errorcode", None)
        return number is not None and number & 0xFF in _SQLITE_AWAY_CODES
    return isinstance(error.driver_exception, _COMPLAINTS)


def is_of_the_value(error: Exception) -> bool:
    """Whether what a statement was given is at fault, so that the same is refused again."""
    if not isinstance(error, DBAPIError | PostgresError):
        return True
    code = _sqlstate(error)
    if code is not None:
        return code[:2] in _OF_THE_VALUE
    number = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return number is None or number & 0xFF in _SQLITE_VALUE_CODES


def refuses(error: BaseException | None) -> bool:
    """Whether the database answered, and lets nobody in at the moment; its reason says why."""
    code = _sqlstate(error)
    return code is not None and (code[:2] in _REFUSING or code in _REFUSING)


def refuses_setting(error: BaseException | None) -> bool:
    """Whether the server does not know a setting, or can't keep to it."""
    return _sqlstate(error) in _SETTING_CODES


def was_cut(error: Exception) -> bool:
    """Whether the connection was found to be closed."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def has_collided(error: BaseException | None) -> bool:
    """Whether two transactions stood in each other's way, so that the same again may pass."""
    return _sqlstate(error) in _COLLIDED_CODES


def _sqlstate(error: BaseException | None) -> str | None:
    told = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(told, "sqlstate", None)
    return code if isinstance(code, str) else None


def _unique_constraint(error: IntegrityError) -> str | None:
    name = getattr(error.driver_exception, "constraint_name", None)
    if name and _sqlstate(error) == "23505":
        return str(name)
    message = str(error.orig)
    return message if message.startswith("UNIQUE constraint failed") else None
