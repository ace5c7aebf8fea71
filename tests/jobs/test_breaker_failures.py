"""Which failures of a round count against the endpoint: those where waiting may mend it."""

import pytest

from jobs.provider import Provider, ProviderFailed
from tests.jobs.provider_runs import ask, run, settings_for
from tests.jobs.raw_model import HEAD, Close, Script, Stall, delta, framed, refusal, sse
from tests.services import free_port


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.provider._FIRST_WAIT_SECONDS", 0.02)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_refusal_that_passes_counts_after_all_tries(status: int) -> None:
    ended = await run(refusal(status))
    assert len(ended.model.requests) == 3
    assert ended.failure is not None
    assert ended.failure.of_endpoint


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"{}"), (401, b"{}"), (403, b"{}"), (404, b"{}"), (413, b"{}"), (422, b"{}"),
        (429, b'{"error":{"code":"insufficient_quota"}}'),
        (500, b'{"error":{"type":"invalid_request_error"}}'),
    ],
)  # fmt: skip
async def test_a_refusal_that_lasts_does_not_count(status: int, body: bytes) -> None:
    ended = await run(refusal(status, body))
    assert ended.code == "model_error"
    assert ended.failure is not None
    assert not ended.failure.of_endpoint


async def test_no_first_token_in_time_counts() -> None:
    for script in ((Stall(),), (HEAD, Stall())):
        ended = await run(script, first=0.2)
        assert ended.code == "model_timeout"
        assert ended.failure is not None
        assert ended.failure.of_endpoint


async def test_an_endpoint_that_is_not_there_counts() -> None:
    async with Provider.open(settings_for(f"http://127.0.0.1:{free_port()}/v1")) as provider:
        with pytest.raises(ProviderFailed) as refused:
            await ask(provider)
    assert refused.value.code == "model_unavailable"
    assert refused.value.of_endpoint


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ((HEAD, framed(sse(delta(content="Hi"))), Stall()), "model_timeout"),
        ((HEAD, framed(sse(delta(content="Hi"))), Close()), "model_truncated"),
        ((HEAD, Close()), "model_truncated"),
        ((HEAD, framed(b"data: {nonsense\n\n"), Stall()), "model_error"),
        ((HEAD, framed(sse({"error": {"message": "overloaded"}})), Stall()), "model_error"),
    ],
)
async def test_an_answer_that_is_cut_off_or_invalid_does_not_count(
    script: Script, code: str
) -> None:
    ended = await run(script, token=0.2)
    assert ended.code == code
    assert ended.failure is not None
    assert not ended.failure.of_endpoint
