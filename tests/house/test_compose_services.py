"""compose.yaml as data: its services are told only what exists, and nothing is unbounded."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import Settings
from relay.settings import RelaySettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Compose reads it, anchors and merges resolved."""
    text = (ROOT / "compose.yaml").read_text()
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def test_every_variable_that_a_service_is_given_is_one_that_the_program_reads(
    compose: dict[str, Any],
) -> None:
    known = {
        name.upper()
        for settings in (Settings, RelaySettings)
        for name in settings.__struct_fields__
        if name != "jobs"
    }
    ours = [one for one in compose["services"].values() if "RELAY_REDIS_URL" in str(one)]
    given = {name for one in ours for name in one.get("environment", {})}
    assert given
    assert given <= known


def test_every_service_has_a_memory_limit_and_drops_its_privileges(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        assert service.get("mem_limit") or service.get("deploy", {}).get("resources"), name
        assert "no-new-privileges:true" in service.get("security_opt", []), name


def test_the_log_is_kept_on_disk_and_never_evicted(compose: dict[str, Any]) -> None:
    command = str(compose["services"]["valkey"]["command"])
    assert "appendonly" in command
    assert "noeviction" in command
