"""One worker process, assembled: what it opens, what it listens to, and the loops that it runs."""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from redis.asyncio.connection import parse_url

from jobs import keys
from jobs.beat import Beat
from jobs.breaker import Breakers
from jobs.database import Database, schema_is_current
from jobs.errors import Unavailable
from jobs.finish import Ending
from jobs.generate import Workshop
from jobs.ids import new_id
from jobs.kinds_setting import load_kinds
from jobs.limits import collect_rarely
from jobs.measures import Measures
from jobs.metrics_server import serve_metrics
from jobs.outage import Outage
from jobs.pending_ends import PendingEnds
from jobs.picking import WakingWorker
from jobs.provider import Provider
from jobs.publisher import open_publisher
from jobs.pubsub import PubSub, open_pubsub
from jobs.queue import Queue, open_arq
from jobs.redis_link import open_redis
from jobs.redis_pipeline import open_pipeline
from jobs.redis_wire import Address
from jobs.rescue import Rescuer
from jobs.runner import AFTER_GRACE_SECONDS, Runner
from jobs.settings import InvalidSetting, Settings
from jobs.signals import Signals
from jobs.store.claims import deregister_worker, register_worker
from jobs.stream_log import StreamLog
from jobs.touch import keep_touching
from jobs.trace_export import open_traces
from jobs.upkeep import kept_up
from jobs.worker_journals import open_own_journal, replay_journals
from jobs.worker_metrics import WorkerMetrics
from persona_apply import Catalogue

log = logging.getLogger(__name__)

GRACE_SECONDS = 20.0
"""How long running generations may go on after SIGTERM before they are handed over."""
TOUCHES_A_LEASE = 2
"""A log that Redis lost is noticed within a lease, in the model's silence too (protocol §5)."""
DATABASE_SECONDS = AFTER_GRACE_SECONDS - 1.0
"""When a stopping worker gives its database up: what it does not take is journalled after that."""
DRAIN_SECONDS = 2.0
WAIT_FIRST_SECONDS = 0.1
WAIT_LAST_SECONDS = 2.0


async def run_worker(
    settings: Settings,
    stop: asyncio.Event,
    *,
    grace: float,
    hurry: asyncio.Event | None = None,
) -> None:
    """Runs a worker until `stop` is set, then lets generations finish or hands them over.

    `grace` is in seconds, and over as soon as `hurry` is set.

    Raises InvalidSetting and what its journal refuses with; Redis and the database, with the newest
    schema, may come later.
    """
    url = _redis_url(settings)
    kinds = load_kinds(settings.relay_kinds)
    journal_dir, fsync = Path(settings.relay_journal_dir), settings.relay_journal_fsync
    lease = settings.relay_lease_seconds
    async with AsyncExitStack() as stack:
        traces = await stack.enter_async_context(open_traces("persona-relay-worker"))
        database = await stack.enter_async_context(Database.open(settings.relay_database_url))
        redis = await stack.enter_async_context(open_redis(url))
        calls = await stack.enter_async_context(open_pipeline(Address.of_url(url)))
        arq = await stack.enter_async_context(open_arq(url))
        pubsub = await stack.enter_async_context(open_pubsub(url))
        journal = stack.enter_context(open_own_journal(journal_dir, fsync))
        stream_log = StreamLog(redis, call=calls.call)
        publisher = await stack.enter_async_context(
            open_publisher(
                stream_log,
                flush_ms=settings.relay_flush_ms,
                ttl_seconds=settings.relay_log_ttl_seconds,
                lease_seconds=lease,
            )
        )
        provider = await stack.enter_async_context(Provider.open(settings, publisher.has_time))
        signals, queue = Signals(calls), Queue(calls)
        ending = Ending(database, publisher, signals, queue, journal, Measures(kinds), kinds)
        # However the worker ends, while its journal is still open.
        stack.push_async_callback(ending.keep_at_last)
        worker_id = new_id("wrk")
        breakers = await stack.enter_async_context(Breakers.open(database, settings))
        workshop = Workshop(
            settings, provider, ending, stream_log, Catalogue.default(), breakers, traces
        )
        runner = Runner(workshop, worker_id)
        beats = Beat(database, runner, worker_id, settings)
        rescuer = Rescuer(
            settings, database, stream_log, signals, queue, breakers.endpoint,
            measures=ending.measures, traces=traces,
        )  # fmt: skip
        metrics = WorkerMetrics(
            settings.relay_max_jobs, runner, publisher, breakers, journal, rescuer, queue, signals,
            pubsub,
        )  # fmt: skip
        await stack.enter_async_context(
            serve_metrics(settings.relay_metrics_address, metrics.families)
        )
        pending = PendingEnds()
        picking = WakingWorker(arq, calls, runner, worker_id, runner.freed, pending)
        # While the calls with which it lets go of jobs can still be made.
        stack.push_async_callback(picking.settle)
        if not await _registered(database, worker_id, settings.relay_max_jobs, stop):
            return
        await database.lengthen_log()
        pubsub.subscribe(keys.offers(worker_id), picking.given, runner.freed.set)
        _listen(pubsub, runner, beats, publisher.check)
        loops = {
            "queue": picking.main,
            "beat": beats.run,
            "rescue": rescuer.run,
            "touch": lambda: keep_touching(publisher, stream_log, lease / TOUCHES_A_LEASE),
            "journal": lambda: replay_journals(ending, journal_dir, fsync, pending),
        }
        async with kept_up(loops):
            log.info("worker is ready", extra={"worker": worker_id, "pid": os.getpid()})
            await stop.wait()
            await runner.let_end(grace, hurry)
            database.give_up_in(DATABASE_SECONDS)
            await runner.stop()
            await publisher.drain(DRAIN_SECONDS)
        # After the last beat, which would make it known again.
        with suppress(Unavailable):
            await deregister_worker(database, worker_id)


def _redis_url(settings: Settings) -> str:
    try:
        parse_url(settings.relay_redis_url)
    except ValueError:
        raise InvalidSetting("RELAY_REDIS_URL", "is no redis:// or rediss:// address") from None
    return settings.relay_redis_url


def _listen(pubsub: PubSub, runner: Runner, beats: Beat, check: Callable[[str], None]) -> None:
    def control(message: bytes) -> None:
        verb, _, generation_id = message.decode(errors="replace").partition(" ")
        if verb == "cancel" and runner.knows(generation_id):
            beats.hasten()
        elif verb == "check":
            check(generation_id)

    pubsub.subscribe(keys.QUEUE, lambda _: runner.freed.set(), runner.freed.set)
    pubsub.subscribe(keys.CONTROL, control, beats.hasten)


async def _registered(
    database: Database, worker_id: str, capacity: int, stop: asyncio.Event
) -> bool:
    """Makes the worker known once the database is there; False when it is to stop before."""
    outage = Outage("the database is not ready")
    delay = WAIT_FIRST_SECONDS
    while not stop.is_set():
        try:
            if await schema_is_current(database):
                await register_worker(database, worker_id, capacity)
                outage.over()
                return True
            outage.lasts("its schema is not the newest: run `persona-relay migrate`")
        except Unavailable as error:
            outage.lasts(error)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay * random.uniform(0.5, 1.0)):
                await stop.wait()
        delay = min(delay * 2, WAIT_LAST_SECONDS)
    return False


async def main(settings: Settings) -> None:
    """The worker as a process: runs until SIGTERM or SIGINT; a second one ends the grace."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    collect_rarely()
    await run_worker(settings, stop, grace=GRACE_SECONDS, hurry=hurry)
