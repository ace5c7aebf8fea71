"""What is a secret, by what is configured or by its form, is in no line that leaves."""

import json
import logging

import pytest

from jobs.logs import line_formatter
from jobs.masking import Masking, secrets_of
from jobs.settings import Settings
from relay.settings import RelaySettings

KEY = 'sk-"quoted"\\ключ'


def test_what_the_settings_hold_is_known_to_be_secret() -> None:
    jobs = Settings(
        relay_database_url="postgresql+asyncpg://me:data%40base@h/db?password=in-query",
        relay_redis_url="redis://:cachesecret@h/0",
        openai_base_url="https://me:modelsecret@h/v1",
        openai_api_key=KEY,
    )
    relay = RelaySettings(jobs=jobs, relay_secret="signing-secret")
    found = secrets_of(relay, jobs)
    assert {"data@base", "in-query", "cachesecret", "modelsecret", KEY, "signing-secret"} <= found
    assert not {"me", "h"} & found


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_known_secret_is_masked_however_the_line_is_written(form: str) -> None:
    formatter = line_formatter(form, [KEY, "data@base"])  # type: ignore[arg-type]
    try:
        raise ValueError(f"refused {KEY} at postgresql://me:data%40base@h")
    except ValueError as error:
        record = logging.LogRecord("x", 40, "x.py", 1, "said %s", (KEY,), (ValueError, error, None))
    record.reason = f"for {KEY}"
    line = formatter.format(record)
    for written in (KEY, json.dumps(KEY)[1:-1], json.dumps(KEY, ensure_ascii=False)[1:-1]):
        assert written not in line
    assert "data" not in line
    assert line.count("***") >= 3
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("token prt_0123abcdSECRETsecret was used", "token prt_0123abcd… was used"),
        ("GET /v1/generations/g/events?ticket=eyJ.sig-_%3D&after=1", "/events?ticket=***&after=1"),
        ("Authorization: Bearer sk-abcdefgh1234", "Authorization: Bearer ***"),
        ("can't reach redis://:pw@h:1/0", "can't reach redis://***@h:1/0"),
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_comes_from(said: str, shown: str) -> None:
    assert shown in Masking()(said)


def test_an_ordinary_line_is_left_as_it_is() -> None:
    line = "generation ended model=demo url=http://h:1/v1 prefix=prt_0123abcd bearer token is wrong"
    assert Masking(["demo", "another-secret"])(line) == line
