"""Settings of the relay: its own environment variables and the jobs side's (protocol §3)."""

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from jobs.settings import InvalidSetting, Limit, Seconds, Settings, read_settings

_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", re.ASCII)
_HOST = re.compile(r"\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+", re.ASCII)


class RelaySettings(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """What the relay is run with; a default stands here alone.

    Field names are the variables' names in lower case; meaning and units are those of protocol §3.
    Raises InvalidSetting where values don't go together.
    """

    jobs: Settings = Settings()
    relay_auth: Literal["off", "token"] = "token"
    relay_secret: str | None = None
    relay_idle_timeout_seconds: Seconds = 90.0
    relay_heartbeat_seconds: Seconds = 10.0
    relay_owner_streams: Limit = 50
    relay_allowed_origins: str = ""
    relay_allowed_hosts: str = ""

    def __post_init__(self) -> None:
        if self.relay_auth == "token" and not self.relay_secret:
            raise InvalidSetting("RELAY_SECRET", "is required with RELAY_AUTH=token")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidSetting(
                    "RELAY_ALLOWED_ORIGINS", f"{origin!r} is not an origin like https://example.org"
                )
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise InvalidSetting(
                    "RELAY_ALLOWED_HOSTS", f"{host!r} is not a name like example.org or [::1]"
                )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The exact origins whose pages may call the API; none means same origin only."""
        return _listed(self.relay_allowed_origins)

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The names, without a port, under which the relay may be asked; none means any."""
        return () if self.relay_allowed_hosts == "*" else _listed(self.relay_allowed_hosts)

    def __repr__(self) -> str:
        # Settings end up in logs and tracebacks; addresses may hold passwords.
        shown = (f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"RelaySettings({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # what rich prints of a traceback's locals
        kept = ("jobs", "relay_secret")
        names = (name for name in self.__struct_fields__ if name not in kept)
        return [(name, getattr(self, name)) for name in names]


def _listed(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in text.split(","))
    return tuple(part for part in parts if part)


def read_relay_settings(environment: Mapping[str, str] = os.environ) -> RelaySettings:
    """The relay's settings, read from the environment; empty variables count as unset.

    Raises InvalidSetting with the name of the first variable that can't be used.
    """
    jobs = read_settings(Settings, environment)
    variables = {name: value for name, value in environment.items() if name != "JOBS"}
    return msgspec.structs.replace(read_settings(RelaySettings, variables), jobs=jobs)
