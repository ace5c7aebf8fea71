"""compose.yaml as data: its services are told only what exists, and nothing is unbounded."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.database import database_url
from jobs.database_engines import POSTGRES_CONNECTIONS
from jobs.settings import Settings, read_settings
from relay.settings import RelaySettings, read_relay_settings
from tests.services import RedisServer

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


def test_it_is_what_the_compose_specification_allows() -> None:
    program = str(Path(sys.executable).with_name("check-jsonschema"))
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.compose-spec", str(ROOT / "compose.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_bounded_and_without_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["logging"]["options"]["max-size"], name


def test_no_service_runs_as_root(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        ours = service["image"] == "persona-relay:local"
        unprivileged = "unprivileged" in service["image"]
        assert ours or unprivileged or int(service["user"].partition(":")[0]) > 0, name


def test_every_service_that_stays_is_asked_how_it_is(compose: dict[str, Any]) -> None:
    services = dict(compose["services"])
    assert services.pop("migrate")["restart"] == "no"
    # The relay's question is the image's.
    assert "healthcheck" not in services.pop("relay")
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name


def test_only_nginx_is_reached_from_outside(compose: dict[str, Any]) -> None:
    published = [name for name, service in compose["services"].items() if "ports" in service]
    assert published == ["nginx"]


def test_there_are_two_relays_and_two_workers_and_nothing_starts_before_the_schema(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert services["relay"]["deploy"]["replicas"] == 2
    workers = [service for name, service in services.items() if name.startswith("worker")]
    assert len(workers) == 2
    for service in (services["relay"], *workers):
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert service["depends_on"]["valkey"] == {"condition": "service_healthy"}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_the_environment_of_each_service_is_one_that_it_starts_with(
    compose: dict[str, Any],
) -> None:
    written = {"POSTGRES_PASSWORD": "abc123", "RELAY_SECRET": "of the test"}
    for name in ("relay", "worker-1", "worker-2", "migrate"):
        given = {
            variable: re.sub(r"\${(\w+):\?[^}]*}", lambda found: written[found[1]], value)
            for variable, value in compose["services"][name]["environment"].items()
        }
        settings = read_settings(Settings, given)
        assert database_url(settings.relay_database_url).host == "postgres"
        if name == "relay":
            assert read_relay_settings(given).relay_auth == "token"
        else:
            assert "RELAY_SECRET" not in given


def test_postgres_has_a_connection_for_whatever_the_upgrade_runs_at_once(
    compose: dict[str, Any],
) -> None:
    [most] = re.findall(r"max_connections=(\d+)", str(compose["services"]["postgres"]["command"]))
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    relays = max(map(int, re.findall(r"--scale relay=(\d+)", operations)))
    # Three workers, and an operator's command beside them.
    assert int(most) >= (relays + 4) * POSTGRES_CONNECTIONS


def test_a_worker_is_healthy_where_it_serves_its_figures(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker-1"]
    port = worker["environment"]["RELAY_METRICS_ADDRESS"].rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/metrics" in worker["healthcheck"]["test"][-1]


def test_a_real_server_takes_the_options_and_keeps_what_it_holds(
    compose: dict[str, Any], start_redis: Callable[..., RedisServer]
) -> None:
    program, *options = compose["services"]["valkey"]["command"]
    assert program == "valkey-server"
    server = start_redis(options=tuple(options))
    for name, value in (
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("maxmemory", str(512 << 20)),
    ):
        assert server.command("CONFIG", "GET", name) == [name.encode(), value.encode()]
