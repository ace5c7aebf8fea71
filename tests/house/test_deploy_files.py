"""The files that a deployment is made of name what exists, and agree with the program."""

import re
from pathlib import Path

from jobs.settings import Settings
from relay.settings import RelaySettings
from tests.house.nginx_conf import directives, seconds
from tests.house.test_env_example import defaults

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROMETHEUS = (ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8")
COMMANDS = {"serve", "worker", "migrate"}


def test_nginx_holds_no_event_back() -> None:
    found = directives()
    assert found["proxy_buffering"] == found["proxy_cache"] == found["gzip"] == ["off"]
    assert found["proxy_http_version"] == ["1.1"]


def test_nginx_outwaits_the_heartbeat_of_a_silent_stream() -> None:
    heartbeat = RelaySettings(relay_auth="off").relay_heartbeat_seconds
    assert seconds(directives()["proxy_read_timeout"][0]) >= 3 * heartbeat


def test_nginx_frees_a_reader_that_takes_nothing_within_a_minute() -> None:
    found = directives()
    assert seconds(found["send_timeout"][0]) <= 60
    assert found["reset_timedout_connection"] == ["on"]


def test_the_image_is_made_of_every_package_and_nothing_that_is_kept_out_of_it() -> None:
    copied = set(re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert names == set(let_in)
    assert {"relay", "jobs", "persona_apply"} <= names
    assert all((ROOT / name).exists() for name in names)


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, flags=re.MULTILINE) == ["persona-relay"]


def test_compose_and_the_image_run_commands_that_exist() -> None:
    run = re.findall(r"^\s+command: \[([a-z]+)[,\]]", COMPOSE, flags=re.MULTILINE)
    run += re.findall(r'^CMD \["([a-z]+)"', DOCKERFILE, flags=re.MULTILINE)
    assert set(run) >= COMMANDS
    assert set(run) <= COMMANDS | {"postgres"}


def test_compose_sets_only_variables_that_the_program_reads() -> None:
    named = set(re.findall(r"\b((?:RELAY|OPENAI)_[A-Z_]+)\b", COMPOSE + DOCKERFILE))
    assert named <= set(defaults())


def test_compose_mounts_files_that_exist() -> None:
    mounted = re.findall(r'"\./([^:"]+):', COMPOSE)
    assert mounted == ["deploy/nginx.conf"]
    assert (ROOT / mounted[0]).is_file()


def test_every_worker_in_compose_has_a_journal_of_its_own() -> None:
    volumes = re.findall(r"\b(journal-\d+):(/\S+)\"", COMPOSE)
    assert len({name for name, _ in volumes}) == len(volumes) == 2
    place = re.search(r"^ENV RELAY_JOURNAL_DIR=(\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert place is not None
    assert {directory for _, directory in volumes} == {place[1]}


def test_compose_never_lets_redis_evict_or_forget_on_a_restart() -> None:
    assert "--maxmemory-policy, noeviction" in COMPOSE
    assert '--appendonly, "yes", --appendfsync, everysec' in COMPOSE


def test_a_worker_may_hand_over_before_compose_kills_it() -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert grace is not None
    assert int(grace[1]) > Settings().relay_lease_seconds


def test_prometheus_is_told_of_every_worker_at_the_address_it_serves() -> None:
    scraped = set(re.findall(r'"(worker-\d+:\d+)"', PROMETHEUS))
    workers = re.findall(r"^  (worker-\d+):$", COMPOSE, flags=re.MULTILINE)
    address = re.search(r"RELAY_METRICS_ADDRESS: \S+:(\d+)$", COMPOSE, flags=re.MULTILINE)
    assert address is not None
    assert scraped == {f"{worker}:{address[1]}" for worker in workers}
    assert re.search(rf'"\S*{address[1]}:', COMPOSE) is None
