"""The TLS of a PostgreSQL address, in libpq's words: taken out of it, checked, given to the driver.

SQLAlchemy would hand each of them to the driver as an argument that it does not have.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import URL

from jobs.settings import InvalidSetting

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_WORDS = frozenset(
    {"sslmode", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version", *_FILES}
)


def checked_tls(url: URL) -> URL:
    """The address with its mode under libpq's name; SQLAlchemy's own word for it is `ssl`.

    Raises InvalidSetting for a mode that there is not, and for a file that is not there.
    """
    query = dict(url.query)
    if "ssl" in query:
        query.setdefault("sslmode", query.pop("ssl"))
    mode = str(query.get("sslmode", MODES[0]))
    if mode not in MODES:
        raise InvalidSetting("RELAY_DATABASE_URL", f"sslmode is one of {', '.join(MODES)}")
    if mode.startswith("verify-") and not _has_authority(query):
        raise InvalidSetting("RELAY_DATABASE_URL", f"sslmode={mode} needs sslrootcert")
    for name in _FILES:
        file = query.get(name)
        if file is not None and not Path(str(file)).is_file():
            raise InvalidSetting("RELAY_DATABASE_URL", f"there is no file that {name} names")
    return url.set(query=query)


def _has_authority(query: Mapping[str, object]) -> bool:
    """Whether there is anything to judge a certificate by, where the driver looks for it."""
    named = query.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    return bool(named) or (Path.home() / ".postgresql/root.crt").is_file()


def split_tls(url: URL) -> tuple[URL, Mapping[str, str]]:
    """The address without its TLS, and what the driver is to be given for it."""
    tls = {name: value for name, value in url.query.items() if name in _WORDS}
    if not tls:
        return url, {}
    # The driver reads these words in an address alone; all else it is told as before.
    return url.difference_update_query(tls), {"dsn": f"postgresql://?{urlencode(tls)}"}
