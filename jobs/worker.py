"""One worker process, assembled; the other file that knows arq.

arq brings a generation here and no more: its job claims the row and hands it to the runner within
milliseconds, so that arq's own timeouts, retries and locks never concern work that takes longer.
"""

import asyncio
import gc
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.worker import Worker, func
from redis.asyncio.connection import parse_url

from jobs import keys
from jobs.beat import Beat
from jobs.breaker import Breakers
from jobs.database import Database, schema_is_current
from jobs.errors import Unavailable
from jobs.finish import Ending
from jobs.generate import Workshop
from jobs.ids import new_id
from jobs.kinds import KindUnknown
from jobs.kinds_setting import load_kinds
from jobs.left_kinds import LeftKinds
from jobs.measures import Measures
from jobs.metrics_server import serve_metrics
from jobs.outage import Outage
from jobs.pending_ends import PendingEnds
from jobs.provider import Provider
from jobs.publisher import open_publisher
from jobs.pubsub import PubSub, open_pubsub
from jobs.queue import POLL_SECONDS, START_JOB, Queue, deserialize, open_arq, serialize
from jobs.redis_link import REDIS_FAILURES, open_redis
from jobs.redis_pipeline import RedisPipeline, open_pipeline
from jobs.redis_script import Script
from jobs.redis_wire import Address
from jobs.rescue import Rescuer
from jobs.runner import AFTER_GRACE_SECONDS, NoPlace, Runner
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
CLAIMS_AT_ONCE = 100
JOBS_A_READ = 1_000
"""Jobs looked at in one poll: many more than can be stuck at the head of the queue."""
LISTED_SECONDS = 10.0
"""How long a worker that starts waits until it knows what its journals hold, before it picks."""
MARK_SECONDS = 10
"""A job of a worker that died before its claim is free again after this: within a lease and 5 s.

A claim that takes longer is harmless: a second one is fenced off.
"""
TOUCHES_A_LEASE = 2
"""A log that Redis lost is noticed within a lease, in the model's silence too (protocol §5)."""
DATABASE_SECONDS = AFTER_GRACE_SECONDS - 1.0
"""When a stopping worker gives its database up: what it does not take is journalled after that."""
DRAIN_SECONDS = 2.0
WAIT_FIRST_SECONDS = 0.1
WAIT_LAST_SECONDS = 2.0


class WakingWorker(Worker):
    """arq's worker, woken by a message instead of polling fast, and unharmed by a lost Redis.

    It picks jobs in one call, where arq makes five for each, and is given single ones while it has
    room: the time to the first token. Keys and payloads are arq's own. `wake` is set by whoever
    knows that there may be something to pick up.
    """

    def __init__(
        self,
        arq: ArqRedis,
        redis: RedisPipeline,
        runner: Runner,
        worker_id: str,
        wake: asyncio.Event,
        pending: PendingEnds,
    ) -> None:
        super().__init__(
            functions=[func(self._start, name=START_JOB)],
            queue_name=keys.QUEUE,
            redis_pool=arq,
            handle_signals=False,
            keep_result=0,
            poll_delay=POLL_SECONDS,
            job_serializer=serialize,
            job_deserializer=deserialize,
            log_results=False,
        )
        self._runner = runner
        self._worker_id = worker_id
        self._wake = wake
        self._pending = pending
        self._redis = redis
        self._pick = Script((files("jobs") / "pick.lua").read_text(), redis.call)
        self._left_over = False
        self._declined = False
        self._failed: dict[str, float] = {}
        self._outage = Outage("the queue can't be read")
        self._unknown = LeftKinds(runner.measures)
        self.polls = 0
        """How often the queue was read."""

    async def main(self) -> None:
        """Picks up jobs until cancelled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LISTED_SECONDS):
                await self._pending.listed()
        while True:
            self._wake.clear()
            try:
                await self._poll_iteration()
            except REDIS_FAILURES as error:
                self._outage.lasts(error)
                await asyncio.sleep(POLL_SECONDS * random.uniform(0.5, 1.0))
            else:
                self._outage.over()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    @property
    def _room(self) -> int:
        """How many jobs may be picked now: each under way may yet take a place of the runner."""
        return min(self._runner.free, CLAIMS_AT_ONCE) - len(self.tasks)

    async def _poll_iteration(self) -> None:
        """Takes no more than there is room for, so that other workers get the rest."""
        if self._declined:
            self._declined = False
            await self._redis.call("PUBLISH", keys.QUEUE, "")
        if (room := self._room) <= 0:
            self._left_over = True
            return
        self.polls += 1
        unknown, pending = self._unknown.now(), self._pending.jobs()
        picked, more = await self._pick.run(
            [keys.QUEUE, keys.IDLE],
            room,
            JOBS_A_READ + len(unknown) + len(pending),
            MARK_SECONDS * 1000,
            in_progress_key_prefix,
            job_key_prefix,
            self._worker_id,
            *self.tasks,
            *self._failed_lately(),
            *self._runner.left_to_others,
            *unknown,
            *pending,
        )
        self._left_over = bool(more)
        for raw_id, payload in picked:
            self._begin(raw_id.decode(), payload)

    def given(self, message: bytes) -> None:
        """Takes a job that was given to this worker alone, or lets all others know of it."""
        raw_id, _, payload = message.partition(b" ")
        job_id = raw_id.decode(errors="replace")
        not_now = (
            *self._failed_lately(), *self._runner.left_to_others,
            *self._unknown.now(), *self._pending.jobs(),
        )  # fmt: skip
        if self._room > 0 and job_id not in not_now:
            self._begin(job_id, payload)
        else:
            self._declined = True
            self._wake.set()

    def _begin(self, job_id: str, payload: bytes | None) -> None:
        # One that was given may be picked in the same moment.
        if job_id not in self.tasks:
            task = asyncio.create_task(self._run_picked(job_id, payload), name=job_id)
            self.tasks[job_id] = task
            task.add_done_callback(lambda done: self._done(done))

    def _failed_lately(self) -> tuple[str, ...]:
        now = time.monotonic()
        self._failed = {job: until for job, until in self._failed.items() if until > now}
        return tuple(self._failed)

    async def _run_picked(self, job_id: str, payload: bytes | None) -> None:
        """Runs one job and takes it out of the queue; raises REDIS_FAILURES."""
        again = False
        try:
            name, arguments, _, _, _ = deserialize_job_raw(payload or b"", deserializer=deserialize)
            generation_id, attempt = arguments
        except (DeserializationError, ValueError) as error:
            # Nothing is lost with it: what the rows say is offered again.
            log.warning("an unreadable job is dropped", extra={"job": job_id, "reason": str(error)})
        else:
            if name == START_JOB:
                try:
                    again = await self._start(self.ctx, generation_id, attempt)
                except KindUnknown as unknown:
                    self._unknown.leave(job_id, unknown.kind)
                    again = True
            else:
                log.warning("an unknown job is dropped", extra={"job": job_id, "function": name})
        await asyncio.shield(self._let_go(job_id, finished=not again))

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            level = logging.WARNING if isinstance(error, REDIS_FAILURES) else logging.ERROR
            if level == logging.ERROR:
                # Else this worker would pick it again at once, and fail with it again.
                self._failed[task.get_name()] = time.monotonic() + MARK_SECONDS
            log.log(level, "a job is left in the queue", extra={"job": task.get_name()},
                    exc_info=error if level == logging.ERROR else None)  # fmt: skip
        if self._left_over:
            self._wake.set()

    async def _let_go(self, job_id: str, *, finished: bool) -> None:
        """Unmarks a job, and takes one that is finished out of the queue; as arq's finish_job."""
        mark = in_progress_key_prefix + job_id
        # In this turn of the loop what it started asks its model, for whose words readers wait.
        await asyncio.sleep(0)
        if not finished:
            await self._redis.call("DEL", mark)
            return
        job, retries = job_key_prefix + job_id, retry_key_prefix + job_id
        taken_out = ("ZREM", keys.QUEUE, job_id)
        await self._redis.run(("MULTI",), taken_out, ("DEL", mark, job, retries), ("EXEC",))

    async def _start(self, ctx: dict[Any, Any], generation_id: str, attempt: int) -> bool:
        """Claims it; whether the job is to be looked at again."""
        try:
            await self._runner.start(generation_id, attempt)
        except NoPlace:
            # Stays in the queue, for whichever worker has a place.
            return True
        except Unavailable as error:
            log.warning(
                "not claimed; the rescuer offers it again",
                extra={"generation": generation_id, "reason": str(error)},
            )
        return False


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
        provider = await stack.enter_async_context(Provider.open(settings))
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
    # Else a full collection walks all that was imported, and every generation stands still.
    gc.collect()
    gc.freeze()
    await run_worker(settings, stop, grace=GRACE_SECONDS, hurry=hurry)
