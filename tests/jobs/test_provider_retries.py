"""When a request is sent again, how often, after how long, and what is told when it was no use."""

import email.utils
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.provider import Finished, Provider, ProviderFailed
from jobs.provider_silence import SilenceWatch
from tests.jobs.provider_runs import KEY, ask, opened, run, settings_for
from tests.jobs.raw_model import (
    ANSWER,
    HEAD,
    Close,
    Reset,
    Script,
    Stall,
    delta,
    framed,
    refusal,
    sse,
)
from tests.services import free_port


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.provider._FIRST_WAIT_SECONDS", 0.02)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_passing_refusal_is_asked_again(status: int) -> None:
    whole = await run(refusal(status), refusal(status), ANSWER)
    assert whole.text == "Hello"
    assert len(whole.model.requests) == 3


@pytest.mark.parametrize("status", [429, 500])
async def test_three_tries_are_all(status: int) -> None:
    ended = await run(refusal(status, b'{"error":{"message":"busy"}}'))
    assert len(ended.model.requests) == 3
    assert ended.code == "model_error"
    assert ended.failure is not None
    assert ended.failure.message == f"the model's endpoint answered {status}: busy"
    assert ended.failure.retryable


@pytest.mark.parametrize("status", [302, 400, 404, 413, 422])
async def test_a_lasting_refusal_is_final_at_once(status: int) -> None:
    ended = await run(refusal(status, b'{"error":{"message":"no such model"}}'), ANSWER)
    assert len(ended.model.requests) == 1
    assert ended.code == "model_error"
    assert ended.failure is not None
    assert ended.failure.message == f"the model's endpoint answered {status}: no such model"
    assert not ended.failure.retryable


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_not_shown(status: int) -> None:
    body = b'{"error":{"message":"Incorrect API key provided: %s"}}' % KEY.encode()
    ended = await run(refusal(status, body))
    assert len(ended.model.requests) == 1
    assert ended.failure is not None
    assert ended.failure.message == "the model's endpoint refused the credentials"
    assert (ended.code, ended.failure.retryable) == ("model_error", False)


async def test_no_secret_and_no_long_body_is_shown() -> None:
    body = b'{"error":{"message":"%s \\u0000 %s"}}' % (KEY.encode(), b"x" * 5000)
    ended = await run(refusal(400, body))
    assert ended.failure is not None
    assert KEY not in ended.failure.message
    assert "\0" not in ended.failure.message
    assert len(ended.failure.message) < 250


@pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b"[1]", b'"\\ud800"', b"\xff", b"nul"])
async def test_any_body_may_come_with_a_refusal(body: bytes) -> None:
    ended = await run(refusal(400, body))
    assert ended.code == "model_error"
    assert ended.failure is not None
    ended.failure.message.encode()


async def test_a_quota_that_is_used_up_is_not_asked_again() -> None:
    ended = await run(refusal(429, b'{"error":{"message":"pay","code":"insufficient_quota"}}'))
    assert len(ended.model.requests) == 1
    assert ended.failure is not None
    assert not ended.failure.retryable


async def test_a_server_that_wants_no_retry_gets_none() -> None:
    ended = await run(refusal(503, x_should_retry="false"), ANSWER)
    assert len(ended.model.requests) == 1
    assert ended.failure is not None
    assert ended.failure.retryable


@pytest.mark.parametrize(
    "headers", [{"retry_after": "0.3"}, {"retry_after_ms": "300", "retry_after": "60"}]
)
async def test_the_wait_that_the_server_asks_for_is_kept(headers: dict[str, str]) -> None:
    whole = await run(refusal(429, b"{}", **headers), ANSWER)
    assert whole.text == "Hello"
    first, second = whole.model.times
    assert 0.3 <= second - first < 2


async def test_a_wait_may_be_asked_for_as_a_date() -> None:
    soon = email.utils.formatdate(time.time() + 1.0, usegmt=True)
    whole = await run(refusal(503, retry_after=soon), ANSWER)
    assert whole.text == "Hello"
    # Dates have whole seconds: it lies at most one second ahead.
    assert whole.seconds < 2


@pytest.mark.parametrize("value", ["60", "inf", "1e400", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_wait_beyond_the_deadline_is_not_begun(value: str) -> None:
    ended = await run(refusal(429, retry_after=value), ANSWER)
    assert ended.code == "model_error"
    assert len(ended.model.requests) == 1
    assert ended.seconds < 1


@pytest.mark.parametrize("value", ["nan", "-5", "soon", "", "Fri, 99 Dec 2999"])
async def test_a_wait_without_sense_is_no_wait(value: str) -> None:
    whole = await run(refusal(429, retry_after=value), ANSWER)
    assert whole.text == "Hello"
    assert whole.seconds < 1


@pytest.mark.parametrize(
    "script",
    [(Close(),), (Reset(),), (HEAD, Close()), (HEAD, framed(b": hi\n\n"), Close())],
    ids=["FIN before headers", "RST before headers", "FIN after headers", "FIN after a comment"],
)
async def test_a_connection_lost_before_the_first_event_is_made_again(script: Script) -> None:
    whole = await run(script, script, ANSWER)
    assert whole.text == "Hello"
    assert len(whole.model.requests) == 3


async def test_an_answer_that_never_starts_is_unavailable_after_three_tries() -> None:
    ended = await run((Close(),))
    assert len(ended.model.requests) == 3
    assert ended.code == "model_unavailable"


async def test_a_role_alone_is_no_event_that_forbids_another_try() -> None:
    role = framed(sse(delta(role="assistant", content="")))
    whole = await run((HEAD, role, Reset()), ANSWER)
    assert whole.text == "Hello"


async def test_nothing_is_asked_again_after_the_first_event() -> None:
    ended = await run((HEAD, framed(sse(delta(content="H"))), Close()), ANSWER)
    assert (ended.text, ended.code) == ("H", "model_truncated")
    assert len(ended.model.requests) == 1


async def test_a_clean_end_without_an_answer_is_not_asked_again() -> None:
    ended = await run((HEAD, b"0\r\n\r\n"), ANSWER)
    assert ended.code == "model_truncated"
    assert len(ended.model.requests) == 1


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    async with Provider.open(settings_for(url)) as provider:
        with pytest.raises(ProviderFailed) as raised:
            await ask(provider)
    assert raised.value.code == "model_unavailable"
    assert raised.value.retryable
    assert raised.value.message == "the model's endpoint gave no answer (Connection refused)"


async def test_a_worker_without_open_files_is_told_as_its_own_and_not_the_endpoints_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(ANSWER) as (model, provider):
        with no_more_files(), pytest.raises(ProviderFailed) as raised:
            await ask(provider)
        assert len(model.requests) == 0
        assert isinstance((await ask(provider))[-1], Finished)
    assert raised.value.code == "model_unavailable"
    assert raised.value.message == "the worker can't connect to the model (Too many open files)"
    assert raised.value.retryable
    # The breaker, which all workers share, counts what is the endpoint's.
    assert not raised.value.of_endpoint
    told = {record.message for record in caplog.records if record.levelname == "ERROR"}
    assert told == {"no connection to the model can be made"}


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process may open no file until the block ends."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest number that is free would be the next one's.
    with Path(os.devnull).open("rb") as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_host_without_a_name_is_unavailable() -> None:
    async with Provider.open(settings_for("http://nowhere.invalid/v1")) as provider:
        with pytest.raises(ProviderFailed) as raised:
            await ask(provider)
    assert raised.value.code == "model_unavailable"
    assert "nowhere" not in raised.value.message


async def test_answers_that_are_no_http_are_unavailable() -> None:
    ended = await run((b"SSH-2.0-OpenSSH_9.6\r\n", Close()))
    assert ended.code == "model_unavailable"


async def test_the_deadline_counts_the_tries_together(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []

    class Noted(SilenceWatch):
        def __init__(self, deadline: float) -> None:
            deadlines.append(deadline)
            super().__init__(deadline)

    monkeypatch.setattr("jobs.provider.SilenceWatch", Noted)
    ended = await run(refusal(503), (Stall(),), first=1.5)
    assert ended.code == "model_timeout"
    assert len(deadlines) == len(ended.model.requests) == 2
    assert len(set(deadlines)) == 1
    # Below the five seconds of the other timeout.
    assert 1.4 < ended.seconds < 4.5


async def test_the_provider_serves_on_after_a_failure() -> None:
    async with opened(refusal(400), ANSWER) as (_, provider):
        with pytest.raises(ProviderFailed):
            await ask(provider)
        assert isinstance((await ask(provider))[-1], Finished)
