"""The story of one attempt: claimed, streamed, committed once, announced. Knows no queue library.

1. The attempt's log opens: `reset` when an earlier one was lost, `status`.
2. The model's rounds run in a task of their own; their text and events go to the log as they come.
3. Whatever ended them (an answer, a failure, a cancel, a time limit) becomes one outcome.
4. The outcome is committed under the fence of the attempt; only then is the end announced.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from jobs.attempt_log import AttemptLog
from jobs.breaker import Breakers, Watch
from jobs.cancelling import end_tasks
from jobs.conclude import conclude
from jobs.converse import NO_TOOLS, Answer, Bounds, GenerationFailed, converse
from jobs.errors import Unavailable
from jobs.events import Reset
from jobs.finish import Ending
from jobs.generation import Failure, Kind
from jobs.kept import kept_text
from jobs.kinds import Kinds, Tool
from jobs.own_tools import schemas_of
from jobs.pace import Pace
from jobs.prompts import asked_of, first_messages
from jobs.provider import Asked, ModelRequest, Provider, ProviderFailed
from jobs.redis_link import REDIS_FAILURES
from jobs.settings import Settings
from jobs.store.claims import Claimed, Context, PersonaRow, hand_over, read_context
from jobs.store.commits import Outcome
from jobs.store.context import NO_CONTEXT, has_no_context
from jobs.stream_log import StreamLog
from jobs.tracing import NO_TRACES, Traces, here
from persona_apply import TOOLS, Catalogue, Draft, Persona

log = logging.getLogger(__name__)

StopReason = Literal["cancelled", "handed_over", "fenced"]

CONTEXT_RETRY_SECONDS = 0.2
INTERNAL_ERROR = Failure("internal_error", "the generation failed unexpectedly", True)


class Stop:
    """Asks a running attempt to end early; the first reason counts."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._asked: asyncio.Future[None] | None = None

    def request(self, reason: StopReason) -> None:
        """Ends the attempt for this reason, unless it is ending already."""
        if self.reason is None:
            self.reason = reason
            if self._asked is not None and not self._asked.done():
                self._asked.set_result(None)

    def asked(self) -> asyncio.Future[None]:
        """Done once a stop was requested; for whoever runs the attempt, once."""
        self._asked = asyncio.get_running_loop().create_future()
        if self.reason is not None:
            self._asked.set_result(None)
        return self._asked


@dataclass(frozen=True, slots=True)
class Workshop:
    """What an attempt works with, all of it opened and closed by the worker."""

    settings: Settings
    provider: Provider
    ending: Ending
    stream_log: StreamLog
    catalogue: Catalogue
    breakers: Breakers
    traces: Traces = NO_TRACES

    @property
    def kinds(self) -> Kinds:
        """The kinds that it can run."""
        return self.ending.kinds


def ask_ahead(workshop: Workshop, claimed: Claimed) -> Asked | None:
    """Asks the model before it is known that the claim is stored; None where more is to be read.

    A model is not told who asks, so nobody hears of a claim that comes to nothing.
    """
    begins_anew = claimed.reset is not None or claimed.cancel_requested
    if claimed.kind is not Kind.CHAT or begins_anew or not has_no_context(claimed):
        return None
    messages = first_messages(claimed.kind, claimed.input, NO_CONTEXT, workshop.catalogue)
    return workshop.provider.ask_ahead(ModelRequest(claimed.model, messages))


async def generate(
    workshop: Workshop,
    claimed: Claimed,
    stop: Stop,
    may_begin_anew: Callable[[], Awaitable[None]],
    asked: Asked | None = None,
) -> None:
    """Runs a claimed attempt to its end; raises nothing but cancellation.

    A stop request is obeyed at once, also while the model is silent: the upstream is closed. Where
    an earlier attempt was lost or handed over, the model is asked once `may_begin_anew` returns.
    `asked` is where it was asked ahead of the claim's being stored: until that is confirmed all is
    prepared, and nothing told.
    """
    publisher = workshop.ending.publisher
    shown = await _shown_before(workshop, claimed) if claimed.cancel_requested else ""
    attempt_log = publisher.log_of(claimed.id, claimed.attempt)
    pace = Pace(workshop.ending.measures, claimed)

    def begin() -> None:
        pace.begin()
        publisher.start(attempt_log, lambda: stop.request("fenced"))
        if claimed.reset is not None:
            attempt_log.append("reset", Reset(claimed.reset, claimed.attempt))
        attempt_log.open()
        if claimed.cancel_requested:
            attempt_log.append_text(shown)
            stop.request("cancelled")

    if asked is None:
        begin()
    else:
        asked.when_confirmed(begin)
    answered, watch = Answer(draft=None), workshop.breakers.watch(claimed)
    cut: Failure | StopReason | None = stop.reason
    if cut is None:

        def heard() -> None:
            pace.heard()
            watch.answered()

        # From the claim on, whatever is waited for.
        first_deadline = time.monotonic() + workshop.settings.relay_first_token_timeout_seconds

        async def in_turn() -> None:
            if claimed.reset is not None:
                await may_begin_anew()
            await _rounds(
                workshop, claimed, attempt_log, answered, watch, heard, first_deadline, asked
            )

        cut = await _run(in_turn(), stop, workshop.settings, asked)
    if asked is not None:
        # Its end may be long in being stored.
        await asked.let_go()
        # What failed sooner has no attempt yet to end.
        await asked.confirmed()
    pace.over()
    await watch.over()
    if cut == "fenced":
        publisher.abandon(attempt_log)
        return
    if cut == "handed_over":
        if claimed.restartable or not attempt_log.told_anything:
            await _hand_over(workshop, claimed)
            publisher.abandon(attempt_log)
            return
        # Its readers know no reset: for them an answer that was begun can't begin anew.
        cut = Failure("worker_lost", "the worker that ran it was stopped", True)
    outcome = _concluded(claimed, attempt_log, answered, cut)
    await workshop.ending.finish(attempt_log, outcome)


async def _shown_before(workshop: Workshop, claimed: Claimed) -> str:
    """What a lost or stopped attempt had written when its cancellation was asked for."""
    if claimed.reset is None:
        return ""
    try:
        return await kept_text(workshop.stream_log, claimed.id, claimed.attempt - 1)
    except REDIS_FAILURES as error:
        log.warning("its log can't be read", extra={"generation": claimed.id, "reason": str(error)})
        return ""


async def _rounds(
    workshop: Workshop,
    claimed: Claimed,
    attempt_log: AttemptLog,
    answered: Answer,
    watch: Watch,
    on_content: Callable[[], None],
    first_deadline: float,
    asked: Asked | None,
) -> None:
    settings = workshop.settings
    context = await _read_context(workshop, claimed, first_deadline)
    messages, tools, own_tools = await _prompt(workshop, claimed, context)
    if context.persona is not None:
        answered.draft = Draft.of(persona_of(context.persona), workshop.catalogue)
    try:
        await converse(
            workshop.provider,
            claimed.model,
            messages,
            attempt_log,
            answered,
            tools=tools,
            own_tools=own_tools,
            bounds=Bounds(
                settings.relay_model_rounds,
                settings.relay_max_output_characters,
                settings.relay_first_token_timeout_seconds,
            ),
            first_deadline=first_deadline,
            on_content=on_content,
            asked=asked,
        )
    except ProviderFailed as failure:
        watch.failed(failure)
        raise


async def _prompt(
    workshop: Workshop, claimed: Claimed, context: Context
) -> tuple[Sequence[dict[str, Any]], Sequence[Mapping[str, Any]], Mapping[str, Tool]]:
    """The first messages, the tools that are offered, and those of them that are the kind's own."""
    custom = workshop.kinds.custom.get(claimed.kind.value)
    if custom is None:
        messages = first_messages(claimed.kind, claimed.input, context, workshop.catalogue)
        return messages, (() if claimed.kind is Kind.CHAT else TOOLS), NO_TOOLS
    prompt = await custom.prompt(asked_of(claimed, context))
    return prompt.messages, schemas_of(prompt.tools), {tool.name: tool for tool in prompt.tools}


async def _read_context(workshop: Workshop, claimed: Claimed, deadline: float) -> Context:
    while True:
        try:
            with here().child("read context"):
                return await read_context(
                    workshop.ending.database,
                    claimed,
                    history_characters=workshop.settings.relay_history_characters,
                )
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(CONTEXT_RETRY_SECONDS * random.uniform(0.5, 1.5))


async def _run(
    work: Coroutine[Any, Any, None], stop: Stop, settings: Settings, asked: Asked | None
) -> Failure | StopReason | None:
    """Why the rounds did not end in an answer; None when they did. They are over either way."""
    seconds = settings.relay_generation_timeout_seconds
    rounds = asyncio.create_task(work)
    stopped = stop.asked()
    first_of = partial(asyncio.wait, {rounds, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        over, _ = await first_of(timeout=seconds)
        if not over and asked is not None:
            # Its time began when its claim was stored.
            await first_of(timeout=await asked.confirmed())
        if rounds.done():
            return _failure_of(_error_of(rounds), settings)
    finally:
        stopped.cancel()
        await end_tasks({rounds})
    if not rounds.cancelled() and (error := rounds.exception()) is not None:
        log.info("the rounds failed while they were stopped", extra={"reason": str(error)})
    return stop.reason or Failure("timeout", f"not finished within {seconds:g} seconds", True)


def _error_of(rounds: asyncio.Task[None]) -> BaseException | None:
    try:
        return rounds.exception()
    except asyncio.CancelledError as error:
        # Nobody here cancelled them.
        return error


def _failure_of(error: BaseException | None, settings: Settings) -> Failure | None:
    match error:
        case None:
            return None
        case GenerationFailed():
            return error.failure
        case ProviderFailed():
            return Failure(error.code, error.message, error.retryable)
        case Unavailable():
            seconds = settings.relay_first_token_timeout_seconds
            return Failure(
                "database_unavailable", f"its context could not be read within {seconds:g} s", True
            )
    log.error("an attempt failed unexpectedly", exc_info=error)
    return INTERNAL_ERROR


async def _hand_over(workshop: Workshop, claimed: Claimed) -> None:
    try:
        if await hand_over(workshop.ending.database, claimed.id, claimed.attempt):
            await workshop.ending.queue.enqueue(claimed.id, claimed.attempt)
    except Unavailable as error:
        # Its lease runs out then, and the rescuer takes it for lost.
        log.warning("could not hand over", extra={"generation": claimed.id, "reason": str(error)})


def _concluded(
    claimed: Claimed,
    attempt_log: AttemptLog,
    answered: Answer,
    cut: Failure | Literal["cancelled"] | None,
) -> Outcome:
    try:
        return conclude(claimed.kind, attempt_log, answered, cut)
    except Exception:
        log.exception("an attempt could not be concluded", extra={"generation": claimed.id})
        # A draft that can't be brought to an end changes nothing.
        answered.draft = None
        return conclude(claimed.kind, attempt_log, answered, INTERNAL_ERROR)


def persona_of(row: PersonaRow) -> Persona:
    """The stored persona as the value that persona_apply works on."""
    return Persona(name=row.name, brief=row.brief, files=row.files, skills=row.skills)
