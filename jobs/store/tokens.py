"""API tokens: made once in clear, kept as a hash, refused from the moment they are revoked."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec
from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.database import Database, UniqueViolation, now_ms
from jobs.errors import NotFound, Unavailable
from jobs.generation import rfc3339
from jobs.store.rows import AnyRow, time_or_none
from jobs.tables import api_tokens

OPENING = "prt_"
PREFIX_CHARACTERS = 12
_RANDOM_BYTES = 32
_USE_NOTED_EVERY_MS = 60_000
_MOST_CHARACTERS = 200
NOTE_SECONDS = 1.0


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a token; never the token itself. Times are RFC 3339."""

    prefix: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


_COLUMNS = (
    api_tokens.c.prefix,
    api_tokens.c.name,
    api_tokens.c.owner,
    api_tokens.c.scopes,
    api_tokens.c.created_at,
    api_tokens.c.expires_at,
    api_tokens.c.last_used_at,
    api_tokens.c.revoked_at,
)
_VALID = (
    api_tokens.c.revoked_at.is_(None),
    or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > now_ms()),
)
_used_long_ago = or_(
    api_tokens.c.last_used_at.is_(None),
    api_tokens.c.last_used_at < now_ms() - _USE_NOTED_EVERY_MS,
)
_ADD = (
    insert(api_tokens)
    .values(
        prefix=bindparam("prefix"),
        hash=bindparam("hash"),
        name=bindparam("name"),
        owner=bindparam("owner"),
        scopes=bindparam("scopes", type_=api_tokens.c.scopes.type),
        created_at=now_ms(),
        expires_at=bindparam("expires_at"),
    )
    .returning(*_COLUMNS)
)
_LIST = select(*_COLUMNS).order_by(api_tokens.c.created_at, api_tokens.c.prefix)
_REVOKE = (
    update(api_tokens)
    .where(api_tokens.c.prefix == bindparam("wanted"), api_tokens.c.revoked_at.is_(None))
    .values(revoked_at=now_ms())
    .returning(*_COLUMNS)
)
_BY_HASH = select(*_COLUMNS, _used_long_ago.label("used_long_ago")).where(
    api_tokens.c.hash == bindparam("hash"), *_VALID
)
_NOTE_USE = (
    update(api_tokens)
    .where(api_tokens.c.prefix == bindparam("wanted"), _used_long_ago)
    .values(last_used_at=now_ms())
)
_STILL_VALID = select(api_tokens.c.prefix).where(
    api_tokens.c.prefix.in_(bindparam("prefixes", expanding=True)), *_VALID
)


async def create_token(
    db: Database, name: str, owner: str, scopes: Iterable[str], expires_at: int | None
) -> tuple[str, TokenRow]:
    """A new token, in clear for the only time, and its row; `expires_at` in ms since the epoch.

    Raises Unavailable.
    """
    while True:
        token = OPENING + secrets.token_urlsafe(_RANDOM_BYTES)
        row = {
            "prefix": token[:PREFIX_CHARACTERS],
            "hash": _hash(token),
            "name": name,
            "owner": owner,
            "scopes": sorted(scopes),
            "expires_at": expires_at,
        }

        async def add(connection: AsyncConnection, row: Mapping[str, object] = row) -> AnyRow:
            stored: AnyRow = (await connection.execute(_ADD, row)).one()
            return stored

        # Two tokens may share their first characters, if rarely.
        with suppress(UniqueViolation):
            return token, _token_row(await db.write(add))


async def list_tokens(db: Database) -> tuple[TokenRow, ...]:
    """Every token ever made, revoked ones included, oldest first; raises Unavailable."""
    return tuple(_token_row(row) for row in await db.fetch(_LIST))


async def revoke_token(db: Database, prefix: str) -> TokenRow:
    """Refuses the token from now on; NotFound when there is no valid one, else Unavailable."""

    async def revoke(connection: AsyncConnection) -> AnyRow | None:
        row: AnyRow | None = (await connection.execute(_REVOKE, {"wanted": prefix})).first()
        return row

    revoked = await db.write(revoke)
    if revoked is None:
        raise NotFound(prefix)
    return _token_row(revoked)


async def authenticate(db: Database, token: str) -> TokenRow | None:
    """The row of a valid token, or None; notes its use at most once a minute.

    Raises Unavailable when the database can't tell.
    """
    if not token.startswith(OPENING) or len(token) > _MOST_CHARACTERS or not token.isascii():
        return None
    rows = await db.fetch(_BY_HASH, {"hash": _hash(token)})
    if not rows:
        return None
    if rows[0].used_long_ago:

        async def note(connection: AsyncConnection) -> None:
            await connection.execute(_NOTE_USE, {"wanted": rows[0].prefix})

        # When it was last used is for people to look at; a busy database must not lock them out.
        with suppress(Unavailable):
            await db.write(note, within=NOTE_SECONDS)
    return _token_row(rows[0])


async def still_valid(db: Database, prefixes: Iterable[str]) -> set[str]:
    """Those of the prefixes whose tokens are neither revoked nor expired; raises Unavailable."""
    asked = sorted(set(prefixes))
    valid: set[str] = set()
    for start in range(0, len(asked), 500):
        rows = await db.fetch(_STILL_VALID, {"prefixes": asked[start : start + 500]})
        valid.update(row.prefix for row in rows)
    return valid


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _token_row(row: AnyRow) -> TokenRow:
    return TokenRow(
        prefix=row.prefix,
        name=row.name,
        owner=row.owner,
        scopes=tuple(row.scopes),
        created_at=rfc3339(row.created_at),
        expires_at=time_or_none(row.expires_at),
        last_used_at=time_or_none(row.last_used_at),
        revoked_at=time_or_none(row.revoked_at),
    )
