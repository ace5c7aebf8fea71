"""A fleet as a team runs it: relays behind nginx, workers, tokens, TLS and passwords everywhere.

It is asked and read at nginx alone, which sends each request to the next relay.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from jobs.database import Database, migrate
from jobs.store.tokens import create_token
from tests.chaos.conftest import GRACE, LEASE, MAX_ATTEMPTS, TOKEN_TIMEOUT
from tests.chaos.member import Member
from tests.chaos.system import HASTY_WORKER, PROGRAM, System
from tests.house.nginx_conf import written_for_a_test
from tests.services import Child, DelayingProxy, PostgresServer, RedisServer, eventually, free_port
from tests.services.tls_front import tls_front

OWNER = "ann"
SIGNING_SECRET = "hush-signing-secret"
MODEL_KEY = "hush-model-key"


@dataclass(slots=True)
class Fleet(System):
    """The whole of it; `environment` is what its relays and workers are run with."""

    directory: Path = Path()
    nginx: Child | None = None
    nginx_url: str = ""
    token: str = ""
    database: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def relay_url(self) -> str:
        """The balancer."""
        return self.nginx_url

    def served(self, path: str) -> list[dict[str, Any]]:
        """What nginx noted of the requests to this path."""
        text = (self.directory / "access.log").read_text(encoding="utf-8")
        return [line for line in map(json.loads, text.splitlines()) if line["path"] == path]

    async def command(self, *words: str, **changed: str) -> tuple[int, Any]:
        """The exit status of a command of the program and its `--json`, in this environment."""
        process = await asyncio.create_subprocess_exec(
            *(str(PROGRAM), *words, "--json"),
            env=self.environment | changed,
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, complaint = await process.communicate()
        assert b"hush" not in told + complaint
        assert told, complaint.decode()
        return await process.wait(), json.loads(told)

    async def until_both_relays_are_taken(self) -> None:
        """Return once nginx sends requests to each relay again."""
        wanted = {f"127.0.0.1:{relay.port}" for relay in self.relays}

        async def are_taken() -> bool:
            before = len(self.served("/healthz"))
            for _ in self.relays:
                async with self.http.get(f"{self.nginx_url}/healthz"):
                    pass
            # nginx notes a request once it is over, which may be after the answer was read.
            await eventually(
                lambda: len(self.served("/healthz")) >= before + len(self.relays), every=0.02
            )
            newest = self.served("/healthz")[-len(self.relays) :]
            return {one["relay"] for one in newest} == wanted

        await eventually(are_taken, within=15, every=0.1)


@asynccontextmanager
async def open_fleet(
    redis: RedisServer,
    postgres: PostgresServer,
    nginx: str,
    directory: Path,
    *,
    relays: int = 2,
    workers: int = 3,
) -> AsyncIterator[Fleet]:
    """Everything started over a fresh database; every process gone afterwards."""
    database = postgres.create_database()
    url = postgres.url(database)
    await migrate(url)
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(Database.open(url))
        token, _ = await create_token(db, "fleet", OWNER, ("admin",), None)
        front, authority = await stack.enter_async_context(tls_front(redis.url, directory))
        model = Member(
            "model", [str(PROGRAM), "demo-model", "--port", str(port := free_port())],
            dict(os.environ), directory, port=port,
        )  # fmt: skip
        model_link = await stack.enter_async_context(DelayingProxy("127.0.0.1", port))
        model_link.recording = False
        environment = {
            **{
                n: value
                for n, value in os.environ.items()
                if not n.startswith(("RELAY_", "OPENAI_"))
            },
            "RELAY_DATABASE_URL": url,
            "RELAY_REDIS_URL": (
                f"rediss://:{redis.password}@localhost:{front}/0?ssl_ca_certs={authority}"
            ),
            "RELAY_AUTH": "token",
            "RELAY_SECRET": SIGNING_SECRET,
            "RELAY_MODEL": "demo-pace-500",
            "RELAY_MODELS": "*",
            "OPENAI_API_KEY": MODEL_KEY,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model_link.port}/v1",
            "RELAY_JOURNAL_DIR": str(directory / "journal"),
            "RELAY_LEASE_SECONDS": str(LEASE),
            "RELAY_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            "RELAY_HEARTBEAT_SECONDS": "1",
            "RELAY_TOKEN_TIMEOUT_SECONDS": str(TOKEN_TIMEOUT),
            "RELAY_FIRST_TOKEN_TIMEOUT_SECONDS": str(TOKEN_TIMEOUT + 1),
            "RELAY_OWNER_GENERATIONS_PER_MINUTE": "0",
            "RELAY_OWNER_STREAMS": "0",
        }
        hasty = [sys.executable, "-P", str(HASTY_WORKER), str(GRACE)]
        fleet = Fleet(
            redis=redis,
            db=db,
            lease=LEASE,
            model=model,
            model_link=model_link,
            relays=[
                Member(
                    f"relay{number}", [str(PROGRAM), "serve", "--port", str(port)], environment,
                    directory, port=port,
                )
                for number, port in enumerate([free_port() for _ in range(relays)], start=1)
            ],
            workers=[
                Member(f"worker{number}", hasty, environment, directory, ready="worker is ready")
                for number in range(1, workers + 1)
            ],
            http=await stack.enter_async_context(session(token)),
            streams=await stack.enter_async_context(session(token)),
            rng=random.Random(0),
            journals=directory / "journal",
            postgres=postgres,
            directory=directory,
            token=token,
            database=database,
            environment=environment,
        )  # fmt: skip
        try:
            for one in fleet.members:
                one.launch()
            await asyncio.gather(*(one.ready(within=60) for one in fleet.members))
            with _balanced(fleet, nginx):
                await eventually(lambda: (directory / "nginx.pid").exists(), within=10)
                yield fleet
        except BaseException as error:
            error.add_note(fleet.last_words())
            raise
        finally:
            for reader in fleet.readers:
                await reader.leave()
            for one in fleet.members:
                if one.running:
                    one.child.kill()
            # What the kernel closed must have reached the proxy before it is closed.
            await eventually(lambda: not model_link.open_connections)


def session(token: str) -> aiohttp.ClientSession:
    """A session that keeps no connection, with this token."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"})


@contextmanager
def _balanced(fleet: Fleet, nginx: str) -> Iterator[None]:
    port = free_port()
    conf = written_for_a_test(fleet.directory, [relay.port for relay in fleet.relays], port)
    user = " user root;" if os.geteuid() == 0 else ""
    argv = [nginx, "-e", "/dev/stderr", "-c", str(conf), "-g", f"daemon off;{user}"]
    with Child(argv, output=fleet.directory / "nginx.log") as child:
        fleet.nginx = child
        fleet.nginx_url = f"http://127.0.0.1:{port}"
        yield
        child.terminate()
