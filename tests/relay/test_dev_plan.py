"""What `dev` plans to start, for what it is given."""

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.database import database_url
from jobs.settings import InvalidSetting
from relay.data_dir import DataDirTaken, kept_secret, own_data_dir
from relay.dev_plan import Plan, environment_with_dotenv, make_plan, shell_lines
from relay.listening import Address

HERE = Address("127.0.0.1", 8000)


def plan(folder: Path, **given: str) -> Plan:
    """The plan for these variables, on this machine alone."""
    return make_plan(given, HERE, folder)


def test_with_nothing_given_everything_is_embedded_and_the_model_is_the_demo(
    tmp_path: Path,
) -> None:
    made = plan(tmp_path)
    given = made.environment
    assert given["RELAY_DATABASE_URL"] == f"sqlite+aiosqlite:///{tmp_path}/relay.db"
    assert given["RELAY_REDIS_URL"] == f"redis://127.0.0.1:{made.redis_port}/0"
    assert given["OPENAI_BASE_URL"] == f"http://127.0.0.1:{made.demo_port}/v1"
    assert (given["RELAY_MODEL"], given["RELAY_AUTH"]) == ("demo", "off")
    assert made.redis_port != made.demo_port
    assert "RELAY_SECRET" not in given
    assert made.valkey[made.valkey.index("--appendonly") + 1] == "yes"


@pytest.mark.parametrize("endpoint", ["OPENAI_BASE_URL", "OPENAI_API_KEY"])
def test_a_model_with_an_endpoint_is_used(endpoint: str, tmp_path: Path) -> None:
    made = plan(tmp_path, RELAY_MODEL="gpt", **{endpoint: "http://x/v1"})
    assert made.demo_port is None
    assert (made.environment["RELAY_MODEL"], made.environment[endpoint]) == ("gpt", "http://x/v1")


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({"RELAY_MODEL": "gpt"}, "demo"),
        ({"RELAY_MODEL": "demo-silent"}, "demo-silent"),
        ({"OPENAI_API_KEY": "sk"}, "demo"),
        ({"RELAY_MODEL": "gpt", "OPENAI_API_KEY": ""}, "demo"),
    ],
)
def test_half_a_model_is_the_demo_under_a_name_that_it_knows(
    given: dict[str, str], model: str, tmp_path: Path
) -> None:
    made = plan(tmp_path, **given)
    assert made.demo_port is not None
    assert made.environment["RELAY_MODEL"] == model


def test_a_redis_that_is_named_is_used(tmp_path: Path) -> None:
    made = plan(tmp_path, RELAY_REDIS_URL="redis://somewhere:1/0")
    assert (made.valkey, made.redis_port) == ((), None)
    assert made.environment["RELAY_REDIS_URL"] == "redis://somewhere:1/0"


def test_empty_variables_count_as_unset(tmp_path: Path) -> None:
    made = plan(tmp_path, RELAY_DATABASE_URL="", RELAY_REDIS_URL="", RELAY_AUTH="", OTHER="")
    assert made.environment["RELAY_DATABASE_URL"].startswith("sqlite")
    assert made.redis_port is not None
    assert made.environment["RELAY_AUTH"] == "off"
    assert made.environment["OTHER"] == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_beyond_this_machine_a_token_is_needed_and_the_secret_stays(
    host: str, tmp_path: Path
) -> None:
    first, second = (make_plan({}, Address(host, 8000), tmp_path) for _ in range(2))
    assert "RELAY_AUTH" not in first.environment
    assert len(first.environment["RELAY_SECRET"]) > 30
    assert first.environment["RELAY_SECRET"] == second.environment["RELAY_SECRET"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_on_this_machine_alone_no_token_is_needed(host: str, tmp_path: Path) -> None:
    assert make_plan({}, Address(host, 8000), tmp_path).environment["RELAY_AUTH"] == "off"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_on_this_machine_alone_it_is_asked_under_local_names_alone(
    host: str, tmp_path: Path
) -> None:
    address = Address(host, 8000)
    names = make_plan({}, address, tmp_path).environment["RELAY_ALLOWED_HOSTS"].split(",")
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(names)
    assert urlsplit(address.url).netloc.removesuffix(":8000") in names
    given = {"RELAY_ALLOWED_HOSTS": "*"}
    assert make_plan(given, address, tmp_path).environment["RELAY_ALLOWED_HOSTS"] == "*"


def test_beyond_this_machine_it_is_asked_under_any_name(tmp_path: Path) -> None:
    made = make_plan({"RELAY_AUTH": "off"}, Address("0.0.0.0", 8000), tmp_path)
    assert "RELAY_ALLOWED_HOSTS" not in made.environment


def test_a_wrong_value_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="RELAY_LEASE_SECONDS"):
        plan(tmp_path, RELAY_LEASE_SECONDS="x")
    with pytest.raises(InvalidSetting, match="RELAY_DATABASE_URL"):
        plan(tmp_path, RELAY_DATABASE_URL="mysql://x")


@pytest.mark.parametrize("name", ["with space", "q?mark", "per%20cent", "ha#sh", "é@:"])
def test_the_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    url = plan(tmp_path / name).environment["RELAY_DATABASE_URL"]
    assert database_url(url).database == f"{tmp_path / name}/relay.db"


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("RELAY_MODEL=file\nRELAY_MODELS=file\nBROKEN\n")
    monkeypatch.setenv("RELAY_MODEL", "given")
    monkeypatch.delenv("RELAY_MODELS", raising=False)
    read = environment_with_dotenv()
    assert (read["RELAY_MODEL"], read["RELAY_MODELS"]) == ("given", "file")
    assert "RELAY_MODELS" not in os.environ


def test_the_other_commands_are_told_no_secret(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    lines = shell_lines(make_plan({"OPENAI_API_KEY": "sk-1"}, Address("::", 1), folder))
    assert f"RELAY_DATABASE_URL='sqlite+aiosqlite:///{tmp_path}/a b/relay.db'\n" in lines
    assert "SECRET" not in lines
    assert "KEY" not in lines


def test_a_secret_is_for_its_owner_alone_and_an_empty_one_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    made = kept_secret(tmp_path)
    assert len(made) > 30
    assert kept_secret(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_folder_has_one_owner_at_a_time_and_a_stale_lock_is_none(tmp_path: Path) -> None:
    (tmp_path / "dev.lock").write_text("4000000\n")
    with (
        own_data_dir(tmp_path),
        pytest.raises(DataDirTaken, match=f"in use by process {os.getpid()}"),
        own_data_dir(tmp_path),
    ):
        pass
    with own_data_dir(tmp_path):
        pass
