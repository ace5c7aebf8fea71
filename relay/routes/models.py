"""Answers that only the HTTP side knows; everything else is a resource of the store."""

import msgspec


class StreamTicket(msgspec.Struct, frozen=True):
    """A URL that opens one generation's events without a header, until `expires_at`."""

    url: str
    expires_at: str


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """Whether generations can be taken and run; a part that is missing says why."""

    ready: bool
    redis: str
    database: str
    worker: str
