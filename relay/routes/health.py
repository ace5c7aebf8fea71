"""Is the process alive, and can it take and run work: for balancers and supervisors."""

import asyncio
from collections.abc import Awaitable

from starlette.responses import Response

from jobs.database import schema_is_current
from jobs.errors import Unavailable
from jobs.redis_link import REDIS_FAILURES
from jobs.store.workers import any_worker_alive
from relay.routes.models import Alive, Readiness
from relay.routes.operation import Answer, Call, Operation, json_answer
from relay.services import Services

PROBE_SECONDS = 2.0

_FINE = "ok"


async def healthz(call: Call) -> Response:
    """The process answers; nothing else is looked at."""
    return json_answer(Alive())


async def readyz(call: Call) -> Response:
    """Redis, the database with its schema, and a live worker, each looked at for 2 s at most."""
    redis, (database, worker) = await asyncio.gather(
        _probe("Redis", _redis_answers(call.services)), _database_and_worker(call.services)
    )
    ready = redis == database == worker == _FINE
    return json_answer(Readiness(ready, redis, database, worker), 200 if ready else 503)


async def _database_and_worker(services: Services) -> tuple[str, str]:
    database = await _probe("the database", _schema(services))
    if database != _FINE:
        # An older schema may not even have a place where workers are noted.
        return database, "can't be told without the database"
    return database, await _probe("the database", _worker(services))


async def _probe(what: str, check: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await check
    except (Unavailable, *REDIS_FAILURES):
        return f"{what} is not reachable"


async def _redis_answers(services: Services) -> str:
    await services.redis.ping()
    return _FINE


async def _schema(services: Services) -> str:
    if await schema_is_current(services.db):
        return _FINE
    return "the schema is not the newest: run `persona-relay migrate`"


async def _worker(services: Services) -> str:
    if await any_worker_alive(services.db, services.settings.jobs.relay_lease_seconds):
        return _FINE
    return "no worker is alive: run `persona-relay worker`"


OPERATIONS = (
    Operation(
        "GET",
        "/healthz",
        healthz,
        "Is the process alive",
        "anyone",
        {200: (Answer("It is", Alive),)},
    ),
    Operation(
        "GET",
        "/readyz",
        readyz,
        "Can generations be taken and run",
        "anyone",
        {
            200: (Answer("Everything is there", Readiness),),
            503: (Answer("Something is missing", Readiness),),
        },
    ),
)
