"""The model: one streamed round through the openai SDK, bounded in time, closed when its reader is.

A request is sent again only while nothing was given to the reader, at most three times in all and
within the first token's deadline. A round without a finish reason is never whole.
"""

import asyncio
import email.utils
import errno
import ipaddress
import math
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import httpx2
import openai

from jobs.provider_errors import ProviderFailed, is_passing, refused
from jobs.provider_round import CallPiece, Finished, ModelEvent, RoundReader, TextPiece
from jobs.provider_silence import ModelSilent, SilenceWatch
from jobs.settings import InvalidSetting, Settings

__all__ = [
    "CallPiece",
    "Finished",
    "ModelEvent",
    "ModelRequest",
    "Provider",
    "ProviderFailed",
    "TextPiece",
]

TRIES = 3

_OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "none"
_SECRET_CHARACTERS = 8
_CONNECT_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.5
# A finished answer waits no longer for the count of its tokens.
_USAGE_SECONDS = 2.0
# What is left of a body is read for this long, so that its connection can serve the next round.
_REST_SECONDS = 0.1
# aiohttp's own errors pass the SDK's transport where it has no name for them.
_LOST = (openai.APIConnectionError, httpx2.RequestError, aiohttp.ClientError, OSError)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What one round asks: chat-completions messages and tool schemas, as JSON values."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


class Provider:
    """An OpenAI-compatible chat-completions endpoint; one a worker, its connections are kept."""

    def __init__(self, client: openai.AsyncOpenAI, settings: Settings) -> None:
        self._client = client
        key = settings.openai_api_key or ""
        # A short placeholder is no secret, and may be part of any word.
        self._secret = key if len(key) >= _SECRET_CHARACTERS else ""
        self._first_seconds = settings.relay_first_token_timeout_seconds
        self._token_seconds = settings.relay_token_timeout_seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Self]:
        """The endpoint of `OPENAI_BASE_URL` (OpenAI's own without it) with `OPENAI_API_KEY`.

        Only an endpoint of one's own may go without a key. Raises InvalidSetting.
        """
        url = _endpoint(settings.openai_base_url)
        key = _key(settings)
        async with openai.AsyncOpenAI(
            api_key=key,
            base_url=str(url),
            max_retries=0,
            # Reads have no timeout of their own: comments would defeat it, the watch does not care.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            http_client=openai.DefaultAioHttpClient(
                # 0 = no limit, which the worker's own number of jobs sets.
                limits=httpx2.Limits(max_connections=0, keepalive_expiry=_KEEP_ALIVE_SECONDS),
                # A proxy of the environment can't reach this machine's own endpoint.
                trust_env=not _is_loopback(url.host),
            ),
        ) as client:
            yield cls(client, settings)

    @asynccontextmanager
    async def stream(
        self, request: ModelRequest, *, first_deadline: float
    ) -> AsyncIterator[AsyncIterator[Sequence[ModelEvent]]]:
        """One round: its events, a batch for each read of the network, the last one `Finished`.

        `first_deadline` is a `time.monotonic()` value: something must have come by then, tries
        included. Leaving the block closes the connection to the model at once; after `Finished`,
        reading on to the end (at most 0.1 s) lets it be used again.

        Iterating raises ProviderFailed; what was given before remains good.
        """
        async with aclosing(self._batches(request, first_deadline)) as batches:
            yield batches

    async def _batches(
        self, request: ModelRequest, first_deadline: float
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        given = False
        for number in range(1, TRIES + 1):
            try:
                async with aclosing(self._one_try(request, first_deadline)) as batches:
                    async for batch in batches:
                        given = True
                        yield batch
                return
            except _TryAgain as passing:
                wait = max(_backoff(number), passing.wait)
                hopeless = time.monotonic() + wait >= first_deadline
                if given or hopeless or number == TRIES:
                    raise passing.failure from passing.__cause__
            await asyncio.sleep(wait)

    async def _one_try(
        self, request: ModelRequest, first_deadline: float
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        async with AsyncExitStack() as stack:
            watch = stack.enter_context(closing(SilenceWatch(first_deadline)))
            response = await self._send(stack, request, watch)
            body = await stack.enter_async_context(aclosing(response.aiter_bytes()))
            reader = RoundReader(self._secret)
            heard = False
            while True:
                try:
                    with watch:
                        piece = await anext(body, b"")
                except ModelSilent as silence:
                    if reader.finish_reason is None:
                        raise self._silent(heard) from silence
                    piece = b""
                except _LOST as error:
                    if reader.finish_reason is None:
                        raise _TryAgain(_cut_off()) from error
                    piece = b""
                batch = reader.feed(piece) if piece else []
                if reader.spoke:
                    heard = True
                    watch.heard(_USAGE_SECONDS if reader.finish_reason else self._token_seconds)
                over = not piece or reader.done
                if over and reader.failure is None:
                    batch += reader.end()
                if batch:
                    yield batch
                if reader.failure is not None:
                    raise reader.failure
                if over:
                    break
            with suppress(TimeoutError, *_LOST):
                async with asyncio.timeout(_REST_SECONDS):
                    async for _ in body:
                        pass

    async def _send(
        self, stack: AsyncExitStack, request: ModelRequest, watch: SilenceWatch
    ) -> httpx2.Response:
        # As extra body they go out as they are; as arguments the SDK walks through all of them
        # first, which holds up every other stream (22 ms for a history of 60,000 characters).
        body = {"messages": request.messages, **({"tools": request.tools} if request.tools else {})}
        call = self._client.chat.completions.with_streaming_response.create(
            model=request.model,
            messages=[],
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        )
        try:
            with watch:
                response = await stack.enter_async_context(call)
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
        return response.http_response

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


def _endpoint(given: str | None) -> httpx2.URL:
    try:
        url = httpx2.URL(given or _OPENAI_URL)
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidSetting("OPENAI_BASE_URL", str(error)) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSetting("OPENAI_BASE_URL", "is no http:// or https:// address")
    return url


def _key(settings: Settings) -> str:
    key = settings.openai_api_key
    if key is None:
        if settings.openai_base_url is None:
            raise InvalidSetting(
                "OPENAI_API_KEY", "is not set, and only an OPENAI_BASE_URL of one's own needs none"
            )
        return _NO_KEY
    if not (key.isascii() and key.isprintable()):
        raise InvalidSetting("OPENAI_API_KEY", "holds a character that no HTTP header can carry")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
