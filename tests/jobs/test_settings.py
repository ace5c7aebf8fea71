"""Settings are read once, each wrong value is refused by name, and secrets are never shown."""

import pytest
from rich.pretty import pretty_repr

from jobs.settings import InvalidSetting, Settings, read_settings

GIVEN = {
    "RELAY_DATABASE_URL": ("postgresql+asyncpg://h/db",) * 2,
    "RELAY_REDIS_URL": ("rediss://h:7000/3",) * 2,
    "OPENAI_BASE_URL": ("http://model.example/v1",) * 2,
    "OPENAI_API_KEY": ("sk-1",) * 2,
    "RELAY_MODEL": ("m",) * 2,
    "RELAY_MODELS": ("a,b",) * 2,
    "RELAY_LEASE_SECONDS": ("2.5", 2.5),
    "RELAY_MAX_ATTEMPTS": ("3", 3),
    "RELAY_MODEL_ROUNDS": ("4", 4),
    "RELAY_GENERATION_TIMEOUT_SECONDS": ("60", 60.0),
    "RELAY_MAX_OUTPUT_CHARACTERS": ("1000", 1000),
    "RELAY_HISTORY_CHARACTERS": ("0", 0),
    "RELAY_QUEUE_EXPIRES_SECONDS": ("5", 5.0),
    "RELAY_FIRST_TOKEN_TIMEOUT_SECONDS": ("6", 6.0),
    "RELAY_TOKEN_TIMEOUT_SECONDS": ("7", 7.0),
    "RELAY_MAX_JOBS": ("8", 8),
    "RELAY_FLUSH_MS": ("0", 0.0),
    "RELAY_LOG_TTL_SECONDS": ("9", 9.0),
    "RELAY_OWNER_GENERATIONS_PER_MINUTE": ("0", 0),
    "RELAY_TOTAL_GENERATIONS_PER_MINUTE": ("11", 11),
    "RELAY_OWNER_TOKENS_PER_MINUTE": ("12", 12),
    "RELAY_TOTAL_TOKENS_PER_MINUTE": ("13", 13),
    "RELAY_JOURNAL_DIR": ("/j",) * 2,
    "RELAY_JOURNAL_FSYNC": ("off",) * 2,
    "RELAY_METRICS_ADDRESS": ("[::1]:9464",) * 2,
    "RELAY_LOG_FORMAT": ("json",) * 2,
    "RELAY_KINDS": ("app.kinds:KINDS",) * 2,
}


def test_every_field_is_read_from_its_variable() -> None:
    assert {name.lower() for name in GIVEN} == set(Settings.__struct_fields__)
    settings = read_settings(Settings, {name: text for name, (text, _) in GIVEN.items()})
    for name, (_, value) in GIVEN.items():
        assert getattr(settings, name.lower()) == value, name


def test_without_variables_the_defaults_of_the_protocol_hold() -> None:
    settings = read_settings(Settings, {})
    assert settings == Settings()
    assert settings.relay_redis_url == "redis://127.0.0.1:6379/0"
    assert settings.relay_flush_ms == 15
    assert settings.relay_lease_seconds == 10
    assert settings.relay_log_ttl_seconds == 3600
    assert settings.relay_max_jobs == 200


def test_an_empty_variable_counts_as_unset_and_a_foreign_one_is_not_read() -> None:
    environment = {"RELAY_MAX_JOBS": "", "OPENAI_API_KEY": "", "RELAY_NOTHING": "x", "PATH": "/"}
    assert read_settings(Settings, environment) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RELAY_LEASE_SECONDS", "0"),
        ("RELAY_LEASE_SECONDS", "-1"),
        ("RELAY_LEASE_SECONDS", "inf"),
        ("RELAY_LEASE_SECONDS", "nan"),
        ("RELAY_LEASE_SECONDS", "1e400"),
        ("RELAY_LEASE_SECONDS", "ten"),
        ("RELAY_LEASE_SECONDS", "10s\n"),
        ("RELAY_LOG_TTL_SECONDS", "1e18"),
        ("RELAY_FLUSH_MS", "-0.1"),
        ("RELAY_FLUSH_MS", "inf"),
        ("RELAY_MAX_JOBS", "0"),
        ("RELAY_MAX_JOBS", "1.5"),
        ("RELAY_MAX_JOBS", "many\nlines"),
        ("RELAY_MAX_ATTEMPTS", "0"),
        ("RELAY_OWNER_GENERATIONS_PER_MINUTE", "-1"),
        ("RELAY_JOURNAL_FSYNC", "some\ntimes"),
        ("RELAY_METRICS_ADDRESS", "9464"),
        ("RELAY_METRICS_ADDRESS", "h:65536"),
        ("RELAY_METRICS_ADDRESS", "http://h:9464"),
        ("RELAY_REDIS_URL", "127.0.0.1:6379"),
        ("RELAY_REDIS_URL", "http://127.0.0.1"),
        ("RELAY_REDIS_URL", "unix:///run/redis.sock"),
        ("RELAY_REDIS_URL", "redis://"),
        ("RELAY_REDIS_URL", "redis://h:port/0"),
        ("RELAY_REDIS_URL", "redis://h:99999/0"),
        ("RELAY_REDIS_URL", "redis://h/0?socket_timeout=soon"),
        ("RELAY_REDIS_URL", "redis://h/0?nothing=1"),
        ("RELAY_REDIS_URL", "rediss://h/0?ssl_cert_reqs=sometimes"),
        ("RELAY_REDIS_URL", "redis://h/cache"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_the_variable(
    variable: str, value: str
) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_settings(Settings, {variable: value})
    assert refused.value.variable == variable
    assert refused.value.reason
    assert str(refused.value) == f"{variable}: {refused.value.reason}"
    assert len(str(refused.value).splitlines()) == 1


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_settings(Settings, {"RELAY_REDIS_URL": "redis://:hun#ter2@h:1"})
    assert "hun" not in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    settings = Settings(
        relay_database_url="postgresql+asyncpg://me:secret1@h:5432/db?password=secret2",
        relay_redis_url="rediss://me:secret3@h:7000/1?ssl_ca_certs=/ca.pem",
        openai_base_url="http://me:secret4@model.example/v1",
        openai_api_key="sk-secret5",
    )
    for shown in (repr(settings), str(settings), f"{settings}", pretty_repr(settings)):
        assert "secret" not in shown
        assert "h:5432/db" in shown
        assert "h:7000/1" in shown
        assert "model.example/v1" in shown
    assert settings.openai_api_key == "sk-secret5"


def test_a_key_in_a_place_meant_for_an_address_is_not_shown() -> None:
    assert "sk-oops" not in repr(Settings(openai_base_url="sk-oops"))


@pytest.mark.parametrize(
    ("default", "more", "name", "allowed"),
    [
        ("m", "", "m", True),
        ("m", "", "n", False),
        ("m", "", "", False),
        (None, "", "", False),
        ("m", "n, o ,", "o", True),
        ("m", "n, o ,", "", False),
        ("m", "*", "anything", True),
        ("m", "*", "", False),
        (None, "n", "n", True),
    ],
)
def test_a_request_may_name_the_default_model_or_a_listed_one(
    default: str | None, more: str, name: str, allowed: bool
) -> None:
    assert Settings(relay_model=default, relay_models=more).allows_model(name) is allowed
