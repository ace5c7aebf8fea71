"""`doctor`: each thing that can be wrong, with what to do; a healthy system has no problem."""

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from freezegun import freeze_time

from jobs.generation import Kind
from jobs.settings import Settings, read_settings
from relay.commands.checks import Finding, clock
from relay.commands.checks_redis import _version, check_redis
from relay.commands.checks_system import check_database
from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts
from tests.conftest import _postgres_binaries
from tests.jobs.journal_samples import record, written
from tests.jobs.sample_kinds import SETTING
from tests.services import DelayingProxy, PostgresServer, RedisServer

StartRedis = Callable[..., RedisServer]


@contextmanager
def endpoint(status: int = 200, body: str = '{"data":[{"id":"m"}]}') -> Iterator[tuple[str, Any]]:
    """A model endpoint that answers so; gives its address, and the headers that it was sent."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, dict(self.headers)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def examine(terminal: Terminal) -> dict[str, dict[str, str]]:
    """What the doctor says, by check; its exit status agrees."""
    ran = terminal.run("doctor", "--json")
    checks = {one["check"]: one for one in ran.json["checks"]}
    problems = [one for one in checks.values() if one["verdict"] == "problem"]
    assert ran.json["ok"] == (not problems) == (ran.status == 0)
    for one in checks.values():
        assert (one["advice"] is None) == (one["verdict"] == "ok")
    return checks


def test_a_healthy_system_has_nothing_but_ok(
    terminal: Terminal, does: Does[Any], start_redis: StartRedis
) -> None:
    does(lambda acts: acts.worker("wrk_1"))
    with endpoint() as (url, seen):
        terminal.set(
            RELAY_REDIS_URL=start_redis(persistence=True).url,
            RELAY_SECRET="a secret of thirty-two characters",
            RELAY_MODEL="m",
            OPENAI_BASE_URL=url,
            OPENAI_API_KEY="a-key",
            HTTP_PROXY="http://127.0.0.1:1",
        )
        checks = examine(terminal)
        assert {one["verdict"] for one in checks.values()} == {"ok"}, checks
        assert set(checks) == {
            "settings",
            "kinds",
            "redis",
            "redis persistence",
            "redis eviction",
            "redis pub/sub buffer",
            "redis clock",
            "database",
            "schema",
            "worker",
            "database clock",
            "model endpoint",
            "journal",
        }
        ran = terminal.run("doctor")
    assert seen[0][0] == "/v1/models"
    assert seen[0][1]["Authorization"] == "Bearer a-key"
    assert ran.status == 0
    assert len(ran.out.splitlines()) == len(checks)
    assert all(line.startswith("ok ") for line in ran.out.splitlines())
    assert "a-key" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("options", "check", "verdict", "advice"),
    [
        ((), "redis persistence", "problem", "appendonly yes"),
        (("--save", "60 1"), "redis persistence", "warning", "appendonly yes"),
        (("--maxmemory-policy", "allkeys-lru"), "redis eviction", "problem", "noeviction"),
        (("--client-output-buffer-limit", "pubsub 1mb 1mb 60"), "redis pub/sub buffer", "problem",
         "client-output-buffer-limit"),
        (("--client-output-buffer-limit", "pubsub 0 0 0"), "redis pub/sub buffer", "warning",
         "client-output-buffer-limit"),
        (("--rename-command", "CONFIG", ""), "redis pub/sub buffer", "warning", "32 MB"),
        (("--maxmemory", "1mb"), "redis memory", "warning", "maxmemory"),
    ],
)  # fmt: skip
def test_a_redis_that_is_set_wrong_is_named_with_what_to_do(
    options: tuple[str, ...],
    check: str,
    verdict: str,
    advice: str,
    terminal: Terminal,
    start_redis: StartRedis,
) -> None:
    terminal.set(RELAY_REDIS_URL=start_redis(options=options).url)
    found = examine(terminal)[check]
    assert found["verdict"] == verdict, found
    assert advice in found["advice"]


def test_a_replica_of_redis_is_a_problem(terminal: Terminal, start_redis: StartRedis) -> None:
    primary = start_redis()
    replica = start_redis(options=("--replicaof", f"127.0.0.1 {primary.port}"))
    terminal.set(RELAY_REDIS_URL=replica.url)
    found = examine(terminal)["redis role"]
    assert found["verdict"] == "problem"
    assert "primary" in found["advice"]


def test_an_old_redis_is_a_problem_and_valkey_is_new_enough() -> None:
    assert _version({"redis_version": "6.0.16"}).verdict == "problem"
    assert _version({"redis_version": "6.2.0"}).verdict == "ok"
    new = _version({"redis_version": "7.2.4", "valkey_version": "9.1.0"})
    assert new == Finding("redis", "ok", "Valkey 9.1.0 answers")


def test_a_redis_that_is_away_or_hangs_is_a_problem_within_seconds(
    terminal: Terminal, start_redis: StartRedis
) -> None:
    assert "not reachable" in examine(terminal)["redis"]["found"]
    server = start_redis()
    terminal.set(RELAY_REDIS_URL=server.url)
    server.freeze()
    began = time.monotonic()
    assert examine(terminal)["redis"]["verdict"] == "problem"
    assert time.monotonic() - began < 8


def test_a_clock_that_differs_is_a_warning(terminal: Terminal, start_redis: StartRedis) -> None:
    terminal.set(RELAY_REDIS_URL=start_redis().url)
    with freeze_time("2001-01-01", real_asyncio=True, tick=True):
        checks = examine(terminal)
    for name in ("redis clock", "database clock"):
        assert checks[name]["verdict"] == "warning"
        assert "ahead of this machine's" in checks[name]["found"]


async def test_what_it_takes_to_connect_is_no_difference_of_clocks(
    postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that tells the server's clock is there before this machine's is read."""
    open_at: list[int] = []
    proxy: DelayingProxy

    def read() -> float:
        open_at.append(proxy.counts.connections)
        return time.time()

    async def judged(module: str, checking: Awaitable[list[Finding]]) -> Finding:
        with monkeypatch.context() as patched:
            patched.setattr(f"relay.commands.{module}.time", SimpleNamespace(time=read))
            [found] = [one for one in await checking if one.check.endswith(" clock")]
        assert open_at == [1, 1], module
        open_at.clear()
        return found

    async with DelayingProxy.before(postgres_url) as proxy:
        monkeypatch.setenv("RELAY_DATABASE_URL", proxy.url(postgres_url))
        found = await judged("checks_system", check_database(read_settings(Settings)))
        assert (found.check, found.verdict) == ("database clock", "ok")
    async with DelayingProxy.before(redis_url) as proxy:
        found = await judged("checks_redis", check_redis(proxy.url(redis_url)))
        assert (found.check, found.verdict) == ("redis clock", "ok")


@pytest.mark.parametrize(
    ("ahead", "verdict", "found"),
    [
        (0.9, "ok", "within 1 s of this machine's"),
        (-0.9, "ok", "within 1 s of this machine's"),
        (1.2, "warning", "1.2 s ahead of this machine's"),
        (-1.2, "warning", "1.2 s behind this machine's"),
    ],
)
def test_clocks_may_differ_by_a_second(ahead: float, verdict: str, found: str) -> None:
    judged = clock("a clock", ahead)
    assert (judged.verdict, judged.found) == (verdict, found)
    assert judged.advice == (
        None if verdict == "ok" else "run a time service (NTP) on both machines"
    )


def test_the_database_and_its_workers_are_looked_at(terminal: Terminal, does: Does[Any]) -> None:
    async def silent(acts: Acts) -> None:
        await acts.silence("wrk_1", 60)

    does(silent)
    checks = examine(terminal)
    assert checks["database"]["verdict"] == "ok"
    assert checks["worker"]["verdict"] == "problem"
    assert "persona-relay worker" in checks["worker"]["advice"]


def test_a_dead_worker_is_found_among_live_ones(terminal: Terminal, does: Does[Any]) -> None:
    async def one_of_two(acts: Acts) -> None:
        await acts.worker("wrk_2")
        await acts.silence("wrk_2", 60)

    does(one_of_two)
    found = examine(terminal)["worker"]
    assert found["verdict"] == "warning"
    assert found["found"].startswith("1 alive; 1 ended without a word, the last 6")


def test_a_missing_or_empty_or_absent_database_is_a_problem(bare: Terminal) -> None:
    found = examine(bare)["database"]
    assert (found["verdict"], found["advice"]) == ("problem", "run `persona-relay migrate`")
    (bare.folder / ".persona-relay").mkdir(exist_ok=True)
    (bare.folder / ".persona-relay/relay.db").touch()
    assert examine(bare)["schema"]["advice"] == "run `persona-relay migrate`"
    bare.set(RELAY_DATABASE_URL="postgresql+asyncpg://x:secret@127.0.0.1:1/none")
    assert "not reachable" in examine(bare)["database"]["found"]


def test_a_database_that_refuses_is_a_problem(bare: Terminal, postgres_url: str) -> None:
    bare.set(RELAY_DATABASE_URL=postgres_url + "_other")
    found = examine(bare)["database"]
    assert found["verdict"] == "problem"
    assert "does not exist" in found["found"]


def test_a_database_that_is_not_to_be_trusted_is_told_from_one_that_is_away(
    bare: Terminal, tmp_path: Path
) -> None:
    server = PostgresServer(_postgres_binaries(), tls=True, password="hush")
    try:
        bare.set(RELAY_DATABASE_URL=server.url().replace("@localhost:", "@127.0.0.1:"))
        found = examine(bare)["database"]
        assert bare.run("tokens", "list").refused("TLS is not to be trusted", "127.0.0.1")
    finally:
        server.close()
    assert found["verdict"] == "problem"
    assert "not valid for '127.0.0.1'" in found["found"]
    assert found["advice"] == "see RELAY_DATABASE_URL"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "said"),
    [
        (401, "", "problem", "refuses the key (401)"),
        (403, "", "problem", "refuses the key (403)"),
        (404, "", "warning", "reachable, but has no list of models (404)"),
        (500, "", "problem", "answers 500"),
        (200, json.dumps({"data": [{"id": "other"}]}), "warning", "does not list m"),
        (200, "<html>", "ok", "answers"),
    ],
)
def test_what_the_models_endpoint_answers_is_judged(
    status: int, body: str, verdict: str, said: str, terminal: Terminal
) -> None:
    with endpoint(status, body) as (url, _):
        terminal.set(OPENAI_BASE_URL=url, RELAY_MODEL="m")
        found = examine(terminal)["model endpoint"]
    assert found["verdict"] == verdict
    assert said in found["found"]


def test_an_endpoint_that_is_away_or_not_set_is_a_problem(terminal: Terminal) -> None:
    checks = examine(terminal)
    assert checks["model endpoint"]["verdict"] == "problem"
    assert checks["model"]["verdict"] == "warning"
    terminal.set(OPENAI_BASE_URL="http://127.0.0.1:1/v1", RELAY_MODEL="m")
    checks = examine(terminal)
    assert "not reachable" in checks["model endpoint"]["found"]
    assert "model" not in checks


@pytest.mark.parametrize("address", ["nowhere", "file:///etc/hosts", "http://", "http://[::1/v1"])
def test_what_is_no_address_of_an_endpoint_is_a_problem_among_the_others(
    address: str, terminal: Terminal
) -> None:
    terminal.set(OPENAI_BASE_URL=address)
    checks = examine(terminal)
    assert checks["database"]["verdict"] == "ok"
    assert checks["model endpoint"]["verdict"] == "problem"
    assert checks["model endpoint"]["advice"] == "see OPENAI_BASE_URL"


def test_what_logs_in_to_the_endpoint_is_not_shown(terminal: Terminal) -> None:
    terminal.set(OPENAI_BASE_URL="http://127.0.0.1:1/v1?key=hush")
    found = examine(terminal)["model endpoint"]["found"]
    assert "hush" not in found
    assert "127.0.0.1:1/v1" in found
    with endpoint() as (url, _):
        terminal.set(OPENAI_BASE_URL=url.replace("//", "//me:hush@"))
        checks = examine(terminal)
    assert checks["model endpoint"]["verdict"] == "ok"
    assert "hush" not in str(checks)


def test_the_journals_are_looked_at(terminal: Terminal) -> None:
    folder = terminal.folder / "journal"
    path = written(folder, [record(1)])
    assert "journal replay" in examine(terminal)["journal"]["advice"]
    path.write_bytes(b"x\n")
    found = examine(terminal)["journal"]
    assert found["verdict"] == "problem"
    assert "damaged at byte 0" in found["found"]


def test_a_relay_that_could_not_start_is_a_warning_that_names_the_variable(
    terminal: Terminal,
) -> None:
    found = examine(terminal)["settings"]
    assert found["verdict"] == "warning"
    assert "RELAY_SECRET" in found["found"]


def test_kinds_that_can_not_be_loaded_are_a_problem_and_what_nobody_takes_is_a_warning(
    terminal: Terminal, does: Does[Any]
) -> None:
    terminal.set(RELAY_KINDS="no_such_app:KINDS")
    broken = examine(terminal)["kinds"]
    assert broken["verdict"] == "problem"
    assert broken["found"].startswith("RELAY_KINDS: 'no_such_app:KINDS' can't be imported")

    async def forsaken(acts: Acts) -> None:
        for kind in (Kind.CHAT, Kind("keeping"), Kind("keeping")):
            await acts.accept(kind)
        await acts.elapse(20)
        await acts.worker("wrk_1")

    does(forsaken)
    terminal.set(RELAY_KINDS=SETTING)
    untaken = examine(terminal)["kinds"]
    assert untaken["verdict"] == "warning"
    assert "2 of the kind 'keeping' wait for a worker that knows it" in untaken["found"]


def test_a_secret_that_may_be_guessed_is_a_warning_and_not_shown(terminal: Terminal) -> None:
    terminal.set(RELAY_SECRET="short-secret")
    found = examine(terminal)["settings"]
    assert found["verdict"] == "warning"
    assert "RELAY_SECRET" in found["found"]
    assert "openssl rand" in found["advice"]
    assert "short-secret" not in str(found)
