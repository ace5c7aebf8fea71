"""The model: one streamed round through the openai SDK, bounded in time, closed when its reader is.

A request is sent again only while nothing was given to the reader, at most three times in all and
within the first token's deadline. A round without a finish reason is never whole.
"""

import asyncio
import email.utils
import errno
import logging
import math
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import aiohttp
import httpx2
import msgspec
import openai
from openai.types.chat import ChatCompletionChunk

from jobs.asked_ahead import AskedAhead
from jobs.provider_blank import Blanks
from jobs.provider_connection import MayWait, PushedBody, Take, at_once
from jobs.provider_endpoint import endpoint_of, is_direct, key_of
from jobs.provider_errors import ProviderFailed, is_passing, refused
from jobs.provider_http import BODY, PushTransport
from jobs.provider_round import CallPiece, Finished, ModelEvent, RoundReader, TextPiece
from jobs.provider_silence import ModelSilent, SilenceWatch
from jobs.settings import Settings

__all__ = [
    "Asked",
    "CallPiece",
    "Finished",
    "ModelEvent",
    "ModelRequest",
    "Provider",
    "ProviderFailed",
    "TextPiece",
]

log = logging.getLogger(__name__)

TRIES = 3

_SECRET_CHARACTERS = 8
_CONNECT_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.5
# A finished answer waits no longer for the count of its tokens.
_USAGE_SECONDS = 2.0
# What is left of a body is read for this long, so that its connection can serve the next round.
_REST_SECONDS = 0.1
_OWN_SHORTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
# aiohttp's own errors pass the SDK's transport where it has no name for them.
_LOST = (openai.APIConnectionError, httpx2.RequestError, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What one round asks: chat-completions messages and tool schemas, as JSON values."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


Answer = openai.AsyncStream[ChatCompletionChunk]
Asked = AskedAhead[Answer]
Read = Callable[[Take, MayWait], Awaitable[None]]
"""Gives the pieces of a body until no more are wanted; again gives what is left of it."""
TakeEvents = Callable[[Sequence[ModelEvent]], None]


class Provider:
    """An OpenAI-compatible chat-completions endpoint; one a worker, its connections are kept."""

    def __init__(self, client: openai.AsyncOpenAI, settings: Settings, may_wait: MayWait) -> None:
        self._client = client
        self._may_wait = may_wait
        # Whole: the SDK would put it together, and parse it once more, for each request.
        base = client.base_url
        self._url = str(base.copy_with(raw_path=base.raw_path + b"chat/completions"))
        key = settings.openai_api_key or ""
        # A short placeholder is no secret, and may be part of any word.
        self._secret = key if len(key) >= _SECRET_CHARACTERS else ""
        self._first_seconds = settings.relay_first_token_timeout_seconds
        self._token_seconds = settings.relay_token_timeout_seconds
        self._blanks: Blanks[Answer] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, may_wait: MayWait = at_once) -> AsyncIterator[Self]:
        """The endpoint of `OPENAI_BASE_URL` (OpenAI's own without it) with `OPENAI_API_KEY`.

        `may_wait` is asked after what was given: whether what follows may wait for more of it.
        Only an endpoint of one's own may go without a key. Raises InvalidSetting.
        """
        url, key = endpoint_of(settings), key_of(settings)
        async with openai.AsyncOpenAI(
            api_key=key,
            base_url=str(url),
            max_retries=0,
            # Reads have no timeout of their own: comments would defeat it, the watch does not care.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            http_client=_http_client(url, settings),
        ) as client:
            provider = cls(client, settings, may_wait)
            if is_direct(url):
                provider._blanks = Blanks(partial(provider._post, {}))
            try:
                yield provider
            finally:
                if provider._blanks is not None:
                    provider._blanks.close()

    def ask_ahead(self, request: ModelRequest) -> Asked:
        """Sends the request of a round that is to follow, or to be let go."""
        return AskedAhead(self._ask(request))

    async def round(
        self,
        request: ModelRequest,
        take: TakeEvents,
        *,
        first_deadline: float,
        asked: Asked | None = None,
    ) -> None:
        """One round: `take` gets its events, a batch for each read of the network, then `Finished`.

        `take` is called from the loop and must not block. `first_deadline` is a `time.monotonic()`
        value: something must have come by then, tries included. However this ends, the connection
        to the model is not left open; after `Finished` it is kept for the next round. `asked` is
        where this very request went ahead: nothing of it is read, and no time counts, before it is
        confirmed.

        Raises ProviderFailed, and what `take` raises; what was given before remains good.
        """
        if asked is not None and asked.is_left:
            first_deadline += await asked.confirmed()
        for number in range(1, TRIES + 1):
            reading = _Reading(self._secret, self._token_seconds, take, self._may_wait)
            try:
                await self._one_try(request, reading, first_deadline, asked)
                return
            except _TryAgain as passing:
                wait = max(_backoff(number), passing.wait)
                hopeless = time.monotonic() + wait >= first_deadline
                if reading.given or hopeless or number == TRIES:
                    raise passing.failure from passing.__cause__
            await asyncio.sleep(wait)

    async def _one_try(
        self,
        request: ModelRequest,
        reading: "_Reading",
        first_deadline: float,
        asked: Asked | None,
    ) -> None:
        async with AsyncExitStack() as stack:
            watch = stack.enter_context(closing(SilenceWatch(first_deadline)))
            read = await self._send(stack, request, watch, asked)
            reading.watch = watch
            finished = False
            try:
                with watch:
                    await read(reading.feed, reading.may_wait)
            except ModelSilent as silence:
                if reading.finish_reason is None:
                    raise self._silent(reading.heard) from silence
            except _LOST as error:
                if reading.finish_reason is None:
                    raise _TryAgain(_cut_off()) from error
            else:
                finished = True
            reading.end()
            if finished:
                with suppress(TimeoutError, *_LOST):
                    async with asyncio.timeout(_REST_SECONDS):
                        await read(lambda _: True, at_once)

    async def _ask(self, request: ModelRequest) -> Answer:
        body = {
            "model": request.model,
            "messages": request.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"tools": request.tools} if request.tools else {}),
        }
        if self._blanks is not None:
            return await self._blanks.send(msgspec.json.encode(body))
        return await self._post(body)

    async def _post(self, body: Mapping[str, Any]) -> Answer:
        # Not through the SDK's typed call, which walks through all that is sent, parameter by
        # parameter: half the cost of a request, and 22 ms for a history of 60,000 characters.
        return await self._client.post(
            self._url,
            cast_to=ChatCompletionChunk,
            body=body,
            stream=True,
            stream_cls=openai.AsyncStream[ChatCompletionChunk],
        )

    async def _send(
        self,
        stack: AsyncExitStack,
        request: ModelRequest,
        watch: SilenceWatch,
        asked: Asked | None,
    ) -> "Read":
        """How the answer's body is read; it is closed with the stack."""
        try:
            with watch:
                if asked is not None and asked.is_left:
                    answer = await asked.answer()
                else:
                    answer = await self._ask(request)
        except ModelSilent as silence:
            raise self._silent(heard=False) from silence
        except openai.APIStatusError as error:
            failure = refused(error.status_code, error.body, self._secret)
            headers = error.response.headers
            again = headers.get("x-should-retry") != "false"
            if is_passing(error.status_code) and failure.retryable and again:
                raise _TryAgain(failure, _asked_wait(headers)) from error
            raise failure from error
        except _LOST as error:
            raise _TryAgain(_unavailable(error)) from error
        response = answer.response
        pushed: PushedBody | None = response.extensions.get(BODY)
        if pushed is not None and "content-encoding" not in response.headers:
            # Alone: request, response and their headers are 8 KiB, for as long as the model thinks.
            stack.push_async_callback(pushed.aclose)
            return pushed.push
        stack.push_async_callback(answer.close)
        return partial(_read, response)

    def _silent(self, heard: bool) -> ProviderFailed:
        if heard:
            return ProviderFailed(
                "model_timeout", f"the model was silent for {self._token_seconds:g} s"
            )
        return ProviderFailed(
            "model_timeout",
            f"the model sent nothing within {self._first_seconds:g} s",
            of_endpoint=True,
        )


class _Reading:
    """What one try has given so far."""

    def __init__(
        self, secret: str, token_seconds: float, take: TakeEvents, may_wait: MayWait
    ) -> None:
        self._reader = RoundReader(secret)
        self._token_seconds = token_seconds
        self._take = take
        self._may_wait = may_wait
        self._gave_text = False
        self._over = False
        # A kept connection calls back where it was opened, for an earlier generation: what is
        # logged and traced there must be this one's.
        self._context = copy_context()
        self.watch: SilenceWatch | None = None
        self.given = False
        """Whether any event was given: then the request must not be sent again."""
        self.heard = False
        """Whether the model said anything."""

    @property
    def finish_reason(self) -> str | None:
        """The model's, once it came."""
        return self._reader.finish_reason

    def may_wait(self) -> bool:
        """Whether what follows the last piece may wait for more: not where that gave no text.

        It may be the first that is shown at all, as where a model has thought.
        """
        return self._gave_text and self._may_wait()

    def feed(self, piece: bytes) -> bool:
        """Takes a piece of the body; whether more is wanted. Raises ProviderFailed."""
        return self._context.run(self._feed, piece)

    def _feed(self, piece: bytes) -> bool:
        reader = self._reader
        batch = reader.feed(piece)
        if reader.spoke and self.watch is not None:
            self.heard = True
            self.watch.heard(_USAGE_SECONDS if reader.finish_reason else self._token_seconds)
        if reader.done and reader.failure is None:
            self._over = True
            batch += reader.end()
        self._give(batch)
        return not self._over

    def end(self) -> None:
        """Gives what is left. Raises ProviderFailed where the round is not whole."""
        if not self._over:
            self._over = True
            self._give(self._reader.end())

    def _give(self, batch: Sequence[ModelEvent]) -> None:
        self._gave_text = bool(batch) and isinstance(batch[-1], TextPiece)
        if batch:
            self.given = True
            self._take(batch)
        if self._reader.failure is not None:
            raise self._reader.failure


async def _read(response: httpx2.Response, take: Take, _: MayWait) -> None:
    """Gives the body's pieces to `take`, decoded, until it wants no more; raises _LOST."""
    if not response.is_stream_consumed:
        async with aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                if not take(piece):
                    break


class _TryAgain(Exception):
    """A failure that passes, and the seconds that the endpoint asked to wait."""

    def __init__(self, failure: ProviderFailed, wait: float = 0.0) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.wait = wait


def _cut_off() -> ProviderFailed:
    return ProviderFailed("model_truncated", "the connection to the model was lost in mid-stream")


def _unavailable(error: BaseException) -> ProviderFailed:
    """The failure for an endpoint that gave no answer, with the system's reason if there is one."""
    reason = ""
    cause: BaseException | None = error
    while cause is not None and not reason:
        # Not its own text, which tells addresses.
        number = cause.errno if isinstance(cause, OSError) else None
        if number is not None and number in errno.errorcode:
            reason = f" ({os.strerror(number)})"
            if number in _OWN_SHORTAGES:
                # No failure of the endpoint, which other workers may well reach.
                log.error("no connection to the model can be made", extra={"reason": reason[2:-1]})
                return ProviderFailed(
                    "model_unavailable", f"the worker can't connect to the model{reason}"
                )
        cause = cause.__cause__ or cause.__context__
    return ProviderFailed(
        "model_unavailable", f"the model's endpoint gave no answer{reason}", of_endpoint=True
    )


def _backoff(number: int) -> float:
    """Seconds to wait after this try: doubling, jittered so that workers don't come together."""
    return _FIRST_WAIT_SECONDS * (1 << (number - 1)) * random.uniform(0.5, 1.0)


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that `retry-after-ms` or `retry-after` asks for, in any of its forms; else 0."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    return 0.0


def _http_client(url: httpx2.URL, settings: Settings) -> httpx2.AsyncClient:
    if is_direct(url):
        # While pieces wait, the model must not be taken for silent.
        longest_wait = min(settings.relay_flush_ms / 1000, settings.relay_token_timeout_seconds / 2)
        transport = PushTransport(_KEEP_ALIVE_SECONDS, longest_wait)
        return httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=True)
    return openai.DefaultAioHttpClient(
        # 0 = no limit, which the worker's own number of jobs sets.
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=_KEEP_ALIVE_SECONDS),
        trust_env=True,
    )
