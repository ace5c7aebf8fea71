"""Settings of the jobs side: environment variables, read once into a frozen value (protocol §3)."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import asdict
from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError

# Bounded above too: infinity is a number for a parser, and none for a timer or for Redis.
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]
Limit = Annotated[int, Meta(ge=0)]

_ADDRESS = re.compile(r"([\w.-]*|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}", re.ASCII)

S = TypeVar("S", bound=msgspec.Struct)


class InvalidSetting(Exception):
    """An environment variable holds a value that can't be used; carries its name and the reason."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.variable = variable
        self.reason = reason


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=str.upper):
    """What the database, the log, the queue and the worker are run with.

    Field names are the variables' names in lower case; their meaning, units and defaults are
    those of protocol §3, and a default stands here alone.
    """

    relay_database_url: str = "sqlite+aiosqlite:///.persona-relay/relay.db"
    relay_redis_url: str = "redis://127.0.0.1:6379/0"
    openai_base_url: str | None = None
    openai_api_key: str | None = None
    relay_model: str | None = None
    relay_models: str = ""
    relay_kinds: str = ""
    relay_lease_seconds: Seconds = 10.0
    relay_max_attempts: Count = 2
    relay_model_rounds: Count = 8
    relay_generation_timeout_seconds: Seconds = 900.0
    relay_max_output_characters: Count = 400_000
    relay_history_characters: Limit = 60_000
    relay_queue_expires_seconds: Seconds = 600.0
    relay_first_token_timeout_seconds: Seconds = 60.0
    relay_token_timeout_seconds: Seconds = 30.0
    relay_max_jobs: Count = 200
    relay_flush_ms: Annotated[float, Meta(ge=0, le=60_000)] = 15.0
    relay_log_ttl_seconds: Seconds = 3600.0
    relay_owner_generations_per_minute: Limit = 60
    relay_total_generations_per_minute: Limit = 6000
    relay_owner_tokens_per_minute: Limit = 0
    relay_total_tokens_per_minute: Limit = 0
    relay_journal_dir: str = ".persona-relay/journal"
    relay_journal_fsync: Literal["always", "off"] = "always"
    relay_metrics_address: str = ""
    relay_log_format: Literal["logfmt", "json"] = "logfmt"

    def __post_init__(self) -> None:
        _check_redis(self.relay_redis_url)
        address = self.relay_metrics_address
        if address and not (
            _ADDRESS.fullmatch(address) and int(address.rpartition(":")[2]) < 65536
        ):
            raise InvalidSetting("RELAY_METRICS_ADDRESS", "is not an address like 127.0.0.1:9464")

    def __repr__(self) -> str:
        # Settings end up in logs and tracebacks; addresses may hold passwords.
        shown = (f"{name}={_shown(name, value)!r}" for name, value in asdict(self).items())
        return f"Settings({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # what rich prints of a traceback's locals
        return [(name, _shown(name, value)) for name, value in asdict(self).items()]

    def allows_model(self, name: str) -> bool:
        """Whether a request may name this model: the default, or one of `RELAY_MODELS`."""
        return bool(name) and (name in self.offered_models or "*" in self._named_models)

    @property
    def offered_models(self) -> list[str]:
        """The default model, then those of `RELAY_MODELS` by name."""
        named = [name for name in self._named_models if name not in ("", "*")]
        return list(dict.fromkeys([self.relay_model, *named] if self.relay_model else named))

    @property
    def _named_models(self) -> list[str]:
        return [part.strip() for part in self.relay_models.split(",")]


def _check_redis(address: str) -> None:
    """Raises InvalidSetting for what is no address, or says what the client does not know."""
    options: dict[str, Any] = {}
    try:
        redis = urlsplit(address)
        named = redis.scheme in ("redis", "rediss") and redis.hostname and redis.port != 0
        # The parser takes a database that is no number for the first one.
        numbered = re.fullmatch("/?|/[0-9]+", redis.path, re.ASCII)
        options.update(parse_url(address))
    except ValueError:
        named = numbered = None
    if not named or not numbered:
        # Not what the parser says: that may quote a part of a password.
        raise InvalidSetting(
            "RELAY_REDIS_URL", "is not an address like redis://127.0.0.1:6379/0 or rediss://…"
        )
    kind = options.pop("connection_class", Connection)
    # What a pool is told and a connection is not.
    of_pool = {"max_connections", "timeout"}
    try:
        # It connects at its first use.
        kind(**{name: value for name, value in options.items() if name not in of_pool})
    except (TypeError, ValueError, RedisError):
        raise InvalidSetting(
            "RELAY_REDIS_URL", "says something behind its `?` that is not known here"
        ) from None


def _shown(name: str, value: Any) -> Any:
    """The value without what must not be shown: a key, or what logs in to an address."""
    if value is None or not name.endswith(("_url", "_key")):
        return value
    return "***" if name.endswith("_key") else shown_address(value)


def shown_address(address: str) -> str:
    """The address without what logs in to it, or anything behind its `?`."""
    try:
        url = urlsplit(address)
        port = "" if url.port is None else f":{url.port}"
    except ValueError:
        return "***"
    if not url.scheme:
        return "***"
    login = "***@" if "@" in url.netloc else ""
    query = "?***" if url.query else ""
    return f"{url.scheme}://{login}{url.hostname or ''}{port}{url.path}{query}"


def read_settings(kind: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Settings of this kind, read from the environment; empty variables count as unset.

    Raises InvalidSetting with the name of the first variable that can't be used.
    """
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    given = {name: environment[name] for name in known if environment.get(name)}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise InvalidSetting(path.rstrip("`") or kind.__name__, reason) from None
