"""What stands behind the `?` of a PostgreSQL address, in libpq's words: checked, told the driver.

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
_OF_THE_DRIVER = frozenset(
    {
        *("sslmode", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *_FILES,
        *("application_name", "target_session_attrs"),
    }
)
"""The driver reads these in an address alone."""
_OF_SQLALCHEMY = frozenset(
    {"host", "port", "user", "password", "passfile", "prepared_statement_cache_size"}
)


def checked_words(url: URL) -> URL:
    """The address with its mode under libpq's name; SQLAlchemy's own word for it is `ssl`.

    Raises InvalidSetting for a word or a mode that there is not, and for a file that is not there.
    """
    query = dict(url.query)
    if "ssl" in query:
        query.setdefault("sslmode", query.pop("ssl"))
    if unknown := sorted(query.keys() - _OF_THE_DRIVER - _OF_SQLALCHEMY):
        raise InvalidSetting(
            "RELAY_DATABASE_URL", f"{unknown[0]!r} is not known here: leave it out"
        )
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


def split_words(url: URL) -> tuple[URL, Mapping[str, str]]:
    """The address without what the driver reads in one alone, and what it is given for that."""
    words = {name: value for name, value in url.query.items() if name in _OF_THE_DRIVER}
    if not words:
        return url, {}
    return url.difference_update_query(words), {"dsn": f"postgresql://?{urlencode(words)}"}
