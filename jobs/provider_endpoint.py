"""Where the model is, what key it takes, and whether a proxy is before it."""

import ipaddress
import urllib.request

import httpx2

from jobs.settings import InvalidSetting, Settings

_OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "none"


def endpoint_of(settings: Settings) -> httpx2.URL:
    """The address of `OPENAI_BASE_URL`, or OpenAI's own; raises InvalidSetting."""
    given = settings.openai_base_url
    try:
        url = httpx2.URL(given or _OPENAI_URL)
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidSetting("OPENAI_BASE_URL", str(error)) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting("OPENAI_BASE_URL", "is no http:// or https:// address")
    return url


def is_direct(url: httpx2.URL) -> bool:
    """Whether it is reached without a proxy of the environment."""
    proxies = urllib.request.getproxies()
    # Such a proxy can't reach this machine's own endpoint.
    passed_by = _is_loopback(url.host) or bool(urllib.request.proxy_bypass(url.host))
    return passed_by or not proxies.keys() & {url.scheme, "all"}


def key_of(settings: Settings) -> str:
    """`OPENAI_API_KEY`; only an endpoint of one's own may go without. Raises InvalidSetting."""
    key = settings.openai_api_key
    if key is None:
        if settings.openai_base_url is None:
            raise InvalidSetting(
                "OPENAI_API_KEY", "is not set, and only an OPENAI_BASE_URL of one's own needs none"
            )
        return _NO_KEY
    if not (key.isascii() and key.isprintable()):
        raise InvalidSetting("OPENAI_API_KEY", "holds a character that no HTTP header can carry")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
