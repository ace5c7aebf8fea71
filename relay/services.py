"""What the routes work with, opened once for the life of the app and closed in the same place."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from jobs.database import Database
from jobs.kinds import Kinds
from jobs.kinds_setting import load_kinds
from jobs.measures import Measures
from jobs.pubsub import open_pubsub
from jobs.queue import Queue
from jobs.redis_link import open_redis
from jobs.redis_pipeline import open_pipeline
from jobs.redis_wire import Address
from jobs.rescue import Rescuer
from jobs.signals import Signals
from jobs.stream_log import StreamLog
from jobs.trace_export import open_traces
from jobs.tracing import NO_TRACES, Traces
from jobs.upkeep import kept_up
from relay.counts import RelayCounts
from relay.figures import FiguresReader
from relay.hub import Hub
from relay.pulse import open_pulse
from relay.recent_admins import RecentAdmins
from relay.recent_owners import RecentOwners
from relay.rehearsal import rehearse
from relay.settings import RelaySettings
from relay.sources import Sources
from relay.stream_slots import StreamSlots

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 8
"""Pages of logs on their way from Redis, so much is held at once however many readers come back."""


@dataclass(frozen=True, slots=True)
class Services:
    """The relay's connections and what stands on them."""

    settings: RelaySettings
    db: Database
    redis: Redis
    queue: Queue
    signals: Signals
    sources: Sources
    slots: StreamSlots
    counts: RelayCounts
    figures: FiguresReader
    admins: RecentAdmins
    owners: RecentOwners
    traces: Traces
    kinds: Kinds


@asynccontextmanager
async def open_services(settings: RelaySettings) -> AsyncIterator[Services]:
    """Services until the block ends; neither Redis nor the database need be up yet.

    Raises InvalidSetting for kinds that can't be loaded.

    A rescuer runs beside them: a relay alone makes overdue generations expire (protocol §8).
    """
    async with (
        open_traces("persona-relay") as traces,
        Database.open(settings.jobs.relay_database_url) as database,
        connect(settings, database, traces) as services,
    ):
        rescuer = Rescuer(
            settings.jobs,
            database,
            services.sources.stream_log,
            services.signals,
            services.queue,
            counts=services.counts.rescues,
            measures=services.counts.measures,
            traces=traces,
        )
        rehearsal = partial(rehearse, database, services.sources)
        async with kept_up({"rescue": rescuer.run, "rehearsal": rehearsal}):
            yield services


@asynccontextmanager
async def connect(
    settings: RelaySettings, database: Database, traces: Traces = NO_TRACES
) -> AsyncIterator[Services]:
    """Services over a database that is open, with nothing running beside them but the pulse.

    Raises InvalidSetting for kinds that can't be loaded.
    """
    kinds = load_kinds(settings.jobs.relay_kinds)
    url = settings.jobs.relay_redis_url
    lease = settings.jobs.relay_lease_seconds
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(url))
        calls = await stack.enter_async_context(open_pipeline(Address.of_url(url)))
        pages = await stack.enter_async_context(open_pipeline(Address.of_url(url), PAGES_AT_ONCE))
        pubsub = await stack.enter_async_context(open_pubsub(url))
        pulse = await stack.enter_async_context(open_pulse(database, lease))
        queue, signals = Queue(calls), Signals(calls)
        figures = FiguresReader(database, queue, lease)
        stack.push_async_callback(figures.close)
        yield Services(
            settings=settings,
            db=database,
            redis=redis,
            queue=queue,
            signals=signals,
            sources=Sources(
                database=database,
                stream_log=StreamLog(redis, fetch=pages.call, call=calls.call),
                signals=signals,
                hub=Hub(pubsub),
                pulse=pulse,
                lease_seconds=lease,
                heartbeat_seconds=settings.relay_heartbeat_seconds,
                idle_timeout_seconds=settings.relay_idle_timeout_seconds,
            ),
            slots=StreamSlots(settings.relay_owner_streams),
            counts=RelayCounts(Measures(kinds)),
            figures=figures,
            admins=RecentAdmins(),
            owners=RecentOwners(),
            traces=traces,
            kinds=kinds,
        )
