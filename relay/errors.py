"""What the edge of the relay itself refuses; each error carries what its answer needs.

RelayError
├── Unauthenticated      no credentials, or none that are good
├── MissingScope         good credentials that don't reach this far
├── CrossSite            another site's page, where no credentials are asked for
├── WrongHost            asked under a name that is not the server's
├── UnsupportedMedia     a body that is not declared as JSON
├── BodyTooLarge         a body beyond the limit
├── MalformedBody        a body that is no JSON document
├── InvalidField         a well-formed request with a value that can't be taken
└── TooManyStreams       the owner has as many open streams as allowed
"""


class RelayError(Exception):
    """A request that is refused before it reaches the jobs side; nothing was stored."""


class Unauthenticated(RelayError):
    """There are no credentials, or they are wrong, expired or revoked."""

    def __init__(self, reason: str, *, given: bool) -> None:
        super().__init__(reason)
        self.given = given


class MissingScope(RelayError):
    """The token is good but was not given this scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs a token with the scope {scope!r}")
        self.scope = scope


class CrossSite(RelayError):
    """A page of another site asks for a change, and no token says that it may."""

    def __init__(self) -> None:
        super().__init__(
            "a page of another site may change nothing here unless RELAY_ALLOWED_ORIGINS names it"
        )


class WrongHost(RelayError):
    """The request names a host that is none of RELAY_ALLOWED_HOSTS."""

    def __init__(self) -> None:
        super().__init__("this server has another name: RELAY_ALLOWED_HOSTS lists its names")


class UnsupportedMedia(RelayError):
    """The body is not declared as application/json in UTF-8."""

    def __init__(self, media_type: str) -> None:
        super().__init__(f"a body must be application/json in UTF-8, not {media_type or 'untyped'}")
        self.media_type = media_type


class BodyTooLarge(RelayError):
    """The body is larger than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a body may have at most {limit} bytes")
        self.limit = limit


class MalformedBody(RelayError):
    """The body is not one JSON document in UTF-8."""


class InvalidField(RelayError):
    """A value can't be taken; `field` names it, None where the whole is wrong."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class TooManyStreams(RelayError):
    """The owner's open streams are as many as allowed; `retry_after` is in seconds."""

    def __init__(self, limit: int, retry_after: int = 5) -> None:
        super().__init__(f"{limit} streams are open, as many as an owner may have")
        self.limit = limit
        self.retry_after = retry_after
