"""Stream tickets: short-lived signed permission to read one generation's events (protocol §4).

For EventSource, which can send no header. A ticket says who reads and until when; its signature
covers the generation too, so that it opens no other.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

TICKET_SECONDS = 600
_MAX_LENGTH = 2000
_LABEL = b"persona-relay stream ticket v1\n"


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """Whose stream it is, the token that asked for it (None: no auth), and its last millisecond."""

    owner: str
    token_prefix: str | None
    expires_at: int


def sign_ticket(secret: str, generation_id: str, ticket: Ticket) -> str:
    """The ticket as the text of a query parameter."""
    payload = urlsafe_b64encode(msgspec.json.encode(ticket)).decode().rstrip("=")
    return f"{payload}.{_signature(secret, generation_id, payload)}"


def read_ticket(secret: str, generation_id: str, text: str, now: int) -> Ticket | None:
    """The ticket that was signed for this generation, or None: forged, expired or another's.

    `now` is in milliseconds since the epoch.
    """
    payload, _, signature = text.partition(".")
    if len(text) > _MAX_LENGTH or not text.isascii():
        return None
    # Texts are compared, not decoded bytes: base64 has several texts for some of them.
    if not hmac.compare_digest(signature, _signature(secret, generation_id, payload)):
        return None
    ticket = msgspec.json.decode(
        urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Ticket
    )
    return ticket if now < ticket.expires_at else None


def _signature(secret: str, generation_id: str, payload: str) -> str:
    message = _LABEL + f"{generation_id}\n{payload}".encode()
    digest = hmac.digest(secret.encode(), message, hashlib.sha256)
    return urlsafe_b64encode(digest).decode().rstrip("=")
