"""Picks up jobs: looked for in arq's queue or given to this worker; the other file that knows arq.

arq brings a generation here and no more: its job claims the row and hands it to the runner within
milliseconds, so that arq's own timeouts, retries and locks never concern work that takes longer.
"""

import asyncio
import logging
import random
import time
from contextlib import suppress
from importlib.resources import files
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.worker import Worker, func

from jobs import keys
from jobs.cancelling import end_tasks
from jobs.errors import Unavailable
from jobs.kinds import KindUnknown
from jobs.left_kinds import LeftKinds
from jobs.outage import Outage
from jobs.pending_ends import PendingEnds
from jobs.queue import POLL_SECONDS, START_JOB, deserialize, serialize
from jobs.redis_link import REDIS_FAILURES
from jobs.redis_pipeline import RedisPipeline
from jobs.redis_script import Script
from jobs.runner import NoPlace, Runner

log = logging.getLogger(__name__)

CLAIMS_AT_ONCE = 100
JOBS_A_READ = 1_000
"""Jobs looked at in one poll: many more than can be stuck at the head of the queue."""
LISTED_SECONDS = 10.0
"""How long a worker that starts waits until it knows what its journals hold, before it picks."""
SETTLE_SECONDS = 2.0
"""A mark that is not taken off in this time runs out by itself."""
MARK_SECONDS = 10
"""A job of a worker that died before its claim is free again after this: within a lease and 5 s.

A claim that takes longer is harmless: a second one is fenced off.
"""


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

    async def settle(self) -> None:
        """Returns once what was picked is let go of, or given up after SETTLE_SECONDS."""
        if tasks := set(self.tasks.values()):
            await asyncio.wait(tasks, timeout=SETTLE_SECONDS)
            await end_tasks(tasks)

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
        await self._let_go(job_id, finished=not again)

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
