"""Where no token is asked for, a page of another site can make a browser change nothing.

With a token there is nothing to forge: no browser sends one by itself.
"""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from relay.errors import CrossSite

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_cross_site(method: str, headers: Mapping[str, str], origins: Collection[str]) -> None:
    """Raises CrossSite for a change that a browser says comes from elsewhere than `origins`.

    A request that says nothing of where it comes from is no browser's. Reading is not refused:
    without CORS the other page never sees the answer.
    """
    origin = headers.get("origin")
    if method in _SAFE or origin in origins:
        return
    site = headers.get("sec-fetch-site")
    if site is None:
        # Older browsers tell the origin alone, and a proxy may have changed http into https.
        elsewhere = origin is not None and urlsplit(origin).netloc != headers.get("host")
    else:
        elsewhere = site not in ("same-origin", "none")
    if elsewhere:
        raise CrossSite
