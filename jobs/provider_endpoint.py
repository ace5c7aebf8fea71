"""Where the model is, the key for it, and the client that reaches it, by a proxy or without one."""

import ipaddress
import urllib.request

import httpx2
import openai

from jobs.provider_http import PushTransport
from jobs.settings import InvalidSetting, Settings

_OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "none"
_KEEP_ALIVE_SECONDS = 60.0


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


def http_client(url: httpx2.URL) -> httpx2.AsyncClient:
    """The client that the SDK sends with."""
    if is_direct(url):
        return httpx2.AsyncClient(
            transport=PushTransport(_KEEP_ALIVE_SECONDS), trust_env=False, follow_redirects=True
        )
    return openai.DefaultAioHttpClient(
        # 0 = no limit, which the worker's own number of jobs sets.
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=_KEEP_ALIVE_SECONDS),
        trust_env=True,
    )


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
