"""The relay's settings come from the environment, once, and keep their secrets."""

import pytest
from rich.pretty import pretty_repr

from jobs.settings import InvalidSetting
from relay.settings import RelaySettings, read_relay_settings


def test_defaults_are_those_of_the_protocol() -> None:
    settings = read_relay_settings({"RELAY_AUTH": "off"})
    assert settings.relay_idle_timeout_seconds == 90
    assert settings.relay_heartbeat_seconds == 10
    assert settings.relay_owner_streams == 50
    assert settings.allowed_origins == ()
    assert settings.jobs.relay_lease_seconds == 10


def test_variables_of_the_relay_and_of_the_jobs_side_are_read_together() -> None:
    settings = read_relay_settings(
        {
            "RELAY_SECRET": "s",
            "RELAY_HEARTBEAT_SECONDS": "2.5",
            "RELAY_MODEL": "m",
            "RELAY_ALLOWED_ORIGINS": "https://a.example, http://localhost:3000",
        }
    )
    assert settings.relay_auth == "token"
    assert settings.relay_heartbeat_seconds == 2.5
    assert settings.jobs.relay_model == "m"
    assert settings.allowed_origins == ("https://a.example", "http://localhost:3000")


def test_a_variable_named_like_a_field_of_the_program_is_not_read() -> None:
    assert read_relay_settings({"RELAY_AUTH": "off", "JOBS": "8"}).jobs.relay_max_jobs == 200


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, "RELAY_SECRET"),
        ({"RELAY_AUTH": "token", "RELAY_SECRET": ""}, "RELAY_SECRET"),
        ({"RELAY_AUTH": "maybe"}, "RELAY_AUTH"),
        ({"RELAY_AUTH": "off", "RELAY_OWNER_STREAMS": "-1"}, "RELAY_OWNER_STREAMS"),
        ({"RELAY_AUTH": "off", "RELAY_HEARTBEAT_SECONDS": "0"}, "RELAY_HEARTBEAT_SECONDS"),
        ({"RELAY_AUTH": "off", "RELAY_LEASE_SECONDS": "soon"}, "RELAY_LEASE_SECONDS"),
        ({"RELAY_AUTH": "off", "RELAY_ALLOWED_ORIGINS": "*"}, "RELAY_ALLOWED_ORIGINS"),
        (
            {"RELAY_AUTH": "off", "RELAY_ALLOWED_ORIGINS": "https://a.example/path"},
            "RELAY_ALLOWED_ORIGINS",
        ),
        ({"RELAY_AUTH": "off", "RELAY_ALLOWED_HOSTS": "a.example:80"}, "RELAY_ALLOWED_HOSTS"),
        ({"RELAY_AUTH": "off", "RELAY_ALLOWED_HOSTS": "*, a.example"}, "RELAY_ALLOWED_HOSTS"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read_relay_settings(environment)
    assert refused.value.variable == variable
    assert "\n" not in str(refused.value)


def test_settings_made_in_code_are_held_to_the_same_rules() -> None:
    with pytest.raises(InvalidSetting):
        RelaySettings()


def test_secrets_are_not_shown() -> None:
    settings = read_relay_settings(
        {
            "RELAY_SECRET": "hush-1",
            "OPENAI_API_KEY": "hush-2",
            "RELAY_REDIS_URL": "redis://:hush-3@host/0",
            "RELAY_DATABASE_URL": "postgresql+asyncpg://u:hush-4@host/db",
        }
    )
    assert "hush" not in f"{settings!r} {settings}"
    for shown in (settings, settings.jobs):
        told = pretty_repr(shown)
        assert "hush" not in told
        assert "relay_" in told
    assert "relay_heartbeat_seconds=10.0" in repr(settings)
