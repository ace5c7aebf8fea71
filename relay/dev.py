"""`persona-relay dev`: the whole system in one command, for a first look and for development.

Real: the relay, the worker, the database (SQLite), the queue and the log (a Valkey of its own).
Demo: the model, unless RELAY_MODEL and an OPENAI_* variable are set. However it ends, no process
that it started stays behind (where it is killed itself: on Linux).
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from jobs.database import migrate
from jobs.errors import JobsError
from relay.dev_plan import Plan, shell_lines
from relay.family import Family, open_family

READY_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.05
ENVIRONMENT_NAME = "dev.env"
OPENAI_URL = "https://api.openai.com/v1"

Say = Callable[[str], None]


class CantStart(JobsError):
    """The system did not come up; the message says what ended or what is missing."""


async def run(plan: Plan, show: Say, say: Say) -> int:
    """Starts everything, shows where it is, and runs until a signal; what crashes is started again.

    `show` takes the welcome and `say` everything else, a line a call; a reader of theirs that went
    away is ignored. The exit status: 0 after a signal, 1 when something crashes again and again.
    Raises CantStart, and what a migration does.
    """
    show, say = _unfailing(show), _unfailing(say)
    stop = _stop_signals()
    async with open_family(plan.environment, say) as family:
        up = asyncio.create_task(_start(plan, family))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({up, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not up.done():
            say("stopping")
            # Not cancelled: a process that is just being made would be nobody's.
            family.halt()
            await up
            return 0
        await up
        with _environment_told(plan) as file:
            for line in _welcome(plan, file):
                show(line)
            crash = await family.keep_up(stop)
            say(f"{crash}; stopping everything" if crash else "stopping")
        return 1 if crash else 0


def _stop_signals() -> asyncio.Event:
    """Set by the signals that end it; a second one is as good as none."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started it with nohup wants it to outlive the terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _start(plan: Plan, family: Family) -> None:
    # Safe path: a folder here that is called `jobs` or `relay` is not the project's.
    python = (sys.executable, "-P", "-m")
    if plan.valkey:
        await family.start("valkey", *plan.valkey, quiet=True)
    if plan.demo_port is not None:
        port = str(plan.demo_port)
        await family.start("model", *python, "relay.cli", "demo-model", "--port", port, quiet=True)
    # It takes longest to come up, and waits for the schema if it has to.
    await family.start("worker", *python, "jobs")
    await migrate(plan.environment["RELAY_DATABASE_URL"])
    await family.start(
        "relay", *python, "relay.cli", "serve", *(("--demo",) if plan.demo_port else ()),
        "--host", plan.address.host, "--port", str(plan.address.port),
    )  # fmt: skip
    deadline = time.monotonic() + READY_SECONDS
    while not family.halted and not await _is_ready(plan):
        if crash := family.crash():
            raise CantStart(f"{crash} at the start")
        if time.monotonic() > deadline:
            raise CantStart(f"not ready within {READY_SECONDS:g} seconds")
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _is_ready(plan: Plan) -> bool:
    """Whether the relay says so, which knows of Redis, the database and the worker."""
    if plan.demo_port is not None and not await _answers("127.0.0.1", plan.demo_port, "/v1/models"):
        return False
    host = plan.address.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    return await _answers(host, plan.address.port, "/readyz")


async def _answers(host: str, port: int, path: str) -> bool:
    # By hand, since a client would ask the proxy that the environment may name.
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request.encode())
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
            finally:
                writer.close()
    except OSError:
        return False


@contextmanager
def _environment_told(plan: Plan) -> Iterator[Path]:
    """A file for the other commands, for as long as this system runs."""
    file = plan.data_dir / ENVIRONMENT_NAME
    file.touch(mode=0o600)
    file.write_text(shell_lines(plan))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _welcome(plan: Plan, environment: Path) -> list[str]:
    given = plan.environment
    database = given["RELAY_DATABASE_URL"].partition("://")[0].partition("+")[0]
    redis = "an embedded Valkey" if plan.valkey else "the Redis of RELAY_REDIS_URL"
    lines = [
        "",
        f"  persona-relay is at {plan.address.url}",
        "",
        f"  real: the relay, a worker, {database}, {redis}; data in {plan.data_dir}",
    ]
    if plan.demo_port is not None:
        lines += [
            "  demo: the model is scripted, no LLM: set RELAY_MODEL and OPENAI_BASE_URL or",
            "        OPENAI_API_KEY for a real one",
        ]
    else:
        lines.append(f"  real: the model {given['RELAY_MODEL']} at {_endpoint(plan)}")
    if given.get("RELAY_AUTH", "token") == "token":
        lines.append("  a token is needed: `persona-relay tokens create NAME` makes one")
    return [
        *lines,
        f"  other commands work on it after: set -a; . {quote(str(environment))}; set +a",
        "  Ctrl-C stops everything",
        "",
    ]


def _endpoint(plan: Plan) -> str:
    """Where the model is, without what logs in to it, and not as another address to open."""
    url = urlsplit(plan.environment.get("OPENAI_BASE_URL") or OPENAI_URL)
    return url.netloc.rpartition("@")[2] + url.path


def _unfailing(say: Say) -> Say:
    def said(line: str) -> None:
        # A pipe that nobody reads any more must not end the system.
        with suppress(OSError):
            say(line)

    return said
