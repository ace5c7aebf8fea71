"""Who is asking, and what they may do: a bearer token, or a ticket for one stream (protocol §2)."""

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec
from starlette.requests import Request

from jobs.errors import Unavailable
from jobs.store.tokens import TokenRow, authenticate
from jobs.store.tokens import still_valid as find_valid
from relay.cross_site import refuse_cross_site
from relay.errors import MissingScope, Unauthenticated
from relay.services import Services
from relay.tickets import TICKET_SECONDS, Ticket, read_ticket, sign_ticket

Scope = Literal["read", "generate", "admin"]

LOCAL_OWNER = "local"

_IMPLIED: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "generate": frozenset({"read", "generate"}),
    "admin": frozenset({"read", "generate", "admin"}),
}
_BEARER = re.compile(r"bearer +(prt_[\x21-\x7e]{8,200})", re.ASCII | re.IGNORECASE)


class Access(msgspec.Struct, frozen=True):
    """Whose resources a request reaches, what it may do, and the token it came with, if any."""

    owner: str
    scopes: frozenset[str]
    token_prefix: str | None = None


Authenticate = Callable[[Request], Awaitable[Access | None]]
"""How a host that embeds the relay says who is asking; None for nobody that it knows."""


def access_of(owner: str, *scopes: Scope) -> Access:
    """What a host answers: these scopes, with all that they imply, over this owner's resources."""
    return Access(owner, implied_scopes(scopes))


ANYONE = Access("", frozenset())
"""A request that needed no credentials: it reaches nobody's resources."""


async def authorize(services: Services, request: Request, scope: Scope) -> Access:
    """The access that the request's bearer token gives; everything, of `local`, when auth is off.

    Where a host says who is asking, that is so and no token is looked at. Raises
    Unauthenticated, or MissingScope when the token doesn't reach `scope`; CrossSite.
    """
    host: Authenticate | None = request.app.state.authenticate
    if host is not None:
        # Its sign-in may be a cookie, which a browser sends for any page that asks.
        refuse_cross_site(request.method, request.headers, services.settings.allowed_origins)
        known = await host(request)
        if known is None:
            raise Unauthenticated("this needs a sign-in", given=False)
        if scope not in known.scopes:
            raise MissingScope(scope)
        return known
    if services.settings.relay_auth == "off":
        refuse_cross_site(request.method, request.headers, services.settings.allowed_origins)
        return Access(LOCAL_OWNER, _IMPLIED["admin"])
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthenticated("a bearer token is needed", given=False)
    match = _BEARER.fullmatch(header.strip())
    row = await _row_of(services, match[1], scope) if match else None
    if row is None:
        raise Unauthenticated("the bearer token is wrong, expired or revoked", given=True)
    scopes = implied_scopes(row.scopes)
    if scope not in scopes:
        raise MissingScope(scope)
    return Access(row.owner, scopes, row.prefix)


async def _row_of(services: Services, token: str, scope: Scope) -> TokenRow | None:
    """What the database knows of a token; figures alone are shown while it can't be asked."""
    try:
        row = await authenticate(services.db, token)
    except Unavailable:
        recent = services.admins.recall(token) if scope == "admin" else None
        if recent is None:
            raise
        return recent
    services.admins.note(token, row)
    return row


async def authorize_stream(services: Services, request: Request, generation_id: str) -> Access:
    """Access to one generation's events: by `?ticket=` where there is no Authorization header.

    Raises Unauthenticated, also for a ticket that is forged, expired, another generation's, or
    whose token was revoked since; MissingScope.
    """
    text = request.query_params.get("ticket")
    no_ticket = text is None or "authorization" in request.headers
    open_to_all = services.settings.relay_auth == "off" and request.app.state.authenticate is None
    if no_ticket or open_to_all:
        return await authorize(services, request, "read")
    secret = services.settings.relay_secret or ""
    ticket = read_ticket(secret, generation_id, text or "", _now())
    if ticket is None:
        raise Unauthenticated("the ticket is wrong or expired", given=True)
    prefix = ticket.token_prefix
    if prefix is not None and prefix not in await still_valid(services, [prefix]):
        raise Unauthenticated("the ticket's token was revoked", given=True)
    return Access(ticket.owner, _IMPLIED["read"], prefix)


def make_ticket(services: Services, access: Access, generation_id: str) -> tuple[str, int]:
    """A ticket for this generation's events, and its end in milliseconds since the epoch."""
    expires_at = _now() + TICKET_SECONDS * 1000
    ticket = Ticket(access.owner, access.token_prefix, expires_at)
    return sign_ticket(services.settings.relay_secret or "", generation_id, ticket), expires_at


async def still_valid(services: Services, prefixes: Iterable[str]) -> set[str]:
    """Those of these tokens that are neither revoked nor expired."""
    return await find_valid(services.db, set(prefixes))


def implied_scopes(given: Iterable[str]) -> frozenset[str]:
    """These scopes and all that they imply: `generate` reads, `admin` does both."""
    return frozenset().union(*(_IMPLIED.get(scope, frozenset()) for scope in given))


def _now() -> int:
    return time.time_ns() // 1_000_000
