"""No secret leaves in a log line: what is known to be one is masked where lines are written.

Nothing in this project writes one on purpose; this is for what others put into an error's text,
such as a driver that quotes the address it could not reach.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import msgspec

SHORTEST = 8
"""A shorter secret may be part of any word, and masking it would tell what it is."""

# What is one by its form, wherever it comes from: tokens but for their prefix, tickets, bearer
# headers, and what logs in to an address.
_BY_FORM = (
    (re.compile(r"(prt_[\w-]{8})[\w-]+"), r"\1…"),
    (re.compile(r"(?i)(\bticket=)[\w.%-]+"), r"\1***"),
    (re.compile(r"(?i)(\bbearer )(?!prt_)[\w.~+/=-]{8,}"), r"\1***"),
    (re.compile(r"(://)[^/\s@]+@"), r"\1***@"),
)


class Masking:
    """Replaces these secrets, and what looks like one, in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for one in secrets if len(one) >= SHORTEST for form in _written(one)}
        words = "|".join(re.escape(one) for one in sorted(known, key=len, reverse=True))
        self._known = re.compile(words) if words else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known is not None:
            text = self._known.sub("***", text)
        for form, shown in _BY_FORM:
            text = form.sub(shown, text)
        return text


def secrets_of(*settings: msgspec.Struct) -> set[str]:
    """What these settings hold that must never be shown."""
    found: set[str] = set()
    for one in settings:
        for name, value in msgspec.structs.asdict(one).items():
            if isinstance(value, str) and name.endswith(("_key", "_secret")):
                found.add(value)
            elif isinstance(value, str) and name.endswith("_url"):
                found |= _of_address(value)
    return found


def _of_address(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        # No address at all: whatever it is, it is not shown.
        return {address}
    given = set() if password is None else {password, unquote(password)}
    return given | {unquote(one) for one in re.findall(r"password=([^&]+)", parts.query)}


def _written(secret: str) -> set[str]:
    """As itself, and as it stands in a quoted string or in an address."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
