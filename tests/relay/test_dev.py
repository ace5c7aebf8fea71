"""`persona-relay dev`: everything comes up with one command, and nothing of it stays behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from relay.family import PAUSES_SECONDS
from tests.relay.test_child import alive
from tests.services import Child, free_port
from tests.services.waiting import until

PROGRAM = Path(sys.executable).with_name("persona-relay")
ROOT = Path(__file__).parents[2]
UP_SECONDS = 40.0
DOWN_SECONDS = 30.0
PARTS = {"valkey": "valkey-server", "model": "demo-model", "worker": "-m jobs", "relay": " serve "}
"""How each process shows in its command line."""
DROPPED = ("RELAY_", "OPENAI_", "MAKE", "MFLAGS", "ARGS")
"""Variables that a test starts without: settings of one's own, and those of a make above it."""


class Dev:
    """A `dev` that runs, and the processes that it started."""

    def __init__(self, child: Child, output: Path) -> None:
        self.child = child
        self.output = output

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.output.read_text()

    @property
    def url(self) -> str:
        """The one address that it printed."""
        urls: set[str] = set(re.findall(r"https?://[^\s\"]+", self.welcome))
        (url,) = urls
        return url

    @property
    def welcome(self) -> str:
        """What it says when it is up."""
        return self.text.partition("persona-relay is at")[1:][1].partition("Ctrl-C stops")[0]

    def wait_until_up(self) -> None:
        """Waits for the welcome."""
        until(
            lambda: "Ctrl-C stops everything" in self.text or self.child.exit_code is not None,
            within=UP_SECONDS,
        )
        assert self.child.exit_code is None, self.text

    def family(self) -> dict[int, str]:
        """Its children's command lines, by pid."""
        children = psutil.Process(self.child.pid).children(recursive=True)
        return {one.pid: " ".join(one.cmdline()) for one in children}

    def part(self, name: str) -> int:
        """The pid of one of PARTS."""
        (pid,) = [pid for pid, line in self.family().items() if PARTS[name] in line]
        return pid

    def is_whole(self) -> bool:
        """Whether each of PARTS is there; a child that was just forked is none of them yet."""
        lines = self.family().values()
        return all(any(part in line for line in lines) for part in PARTS.values())

    def ask(self, **fields: str) -> dict[str, Any]:
        """A generation that was just accepted."""
        body = {"kind": "chat", "input": "hello", **fields}
        answer = httpx.post(f"{self.url}/v1/generations", json=body, trust_env=False)
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def read(self, id: str) -> dict[str, Any]:
        """A generation as it is now."""
        answer = httpx.get(f"{self.url}/v1/generations/{id}", trust_env=False)
        assert answer.status_code == 200, answer.text
        read: dict[str, Any] = answer.json()
        return read

    def hears(self, id: str, words: str) -> None:
        """Follows the generation until its readers were shown these words."""
        events = f"{self.url}/v1/generations/{id}/events"
        with httpx.stream("GET", events, trust_env=False, timeout=30) as answer:
            heard = ""
            for text in answer.iter_text():
                heard += text
                if words in heard:
                    return
        raise AssertionError(heard)

    def answers(self, path: str) -> bool:
        """Whether the relay answers this with 200."""
        try:
            return httpx.get(f"{self.url}{path}", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def wait_for(self, id: str, *states: str) -> dict[str, Any]:
        """Waits until the generation is in one of these states."""
        until(lambda: self.read(id)["state"] in states, within=30, every=0.05)
        return self.read(id)


StartDev = Callable[..., Dev]


def made_hard(folder: Path) -> dict[str, str]:
    """Variables with a proxy that is none; the folder gets packages with names like ours."""
    for name in ("jobs", "relay"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('hijacked')")
    kept = {n: text for n, text in os.environ.items() if not n.startswith(DROPPED)}
    nowhere = "http://127.0.0.1:1"
    return kept | {"http_proxy": nowhere, "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}


@contextmanager
def starting(folder: Path, environment: Mapping[str, str]) -> Iterator[StartDev]:
    """Start `dev` in this folder, on a port of its own choice; it is ended in the end."""
    started: list[Dev] = []

    def start(*, argv: tuple[str, ...] = (), **given: str) -> Dev:
        output = folder / f"out{len(started)}"
        words = argv or (str(PROGRAM), "dev", "--port", "0")
        env = {**environment, **given}
        started.append(Dev(Child(words, output=output, env=env, cwd=folder), output))
        return started[-1]

    try:
        yield start
    finally:
        for dev in started:
            dev.child.kill()


@pytest.fixture
def start_dev(tmp_path: Path) -> Iterator[StartDev]:
    """Start `dev` in the test's own folder."""
    with starting(tmp_path, made_hard(tmp_path)) as start:
        yield start


class Shared(Dev):
    """One that several tests look at, and the commands beside it."""

    def __init__(self, dev: Dev, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(dev.child, dev.output)
        self.folder = folder
        self.environment = environment

    def command(self, words: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell in its folder."""
        return subprocess.run(
            ["sh", "-c", words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A `dev` that is up, and stays so."""
    folder = tmp_path_factory.mktemp("shared")
    environment = made_hard(folder)
    with starting(folder, environment) as start:
        dev = start(RELAY_MODELS="*", RELAY_LEASE_SECONDS="2")
        dev.wait_until_up()
        yield Shared(dev, folder, environment)


def gone(family: Mapping[int, str]) -> bool:
    """Whether none of these processes is there any more."""
    return not any(alive(pid) for pid in family)


def test_one_ctrl_c_leaves_nothing_behind_and_a_second_is_harmless(
    start_dev: StartDev, tmp_path: Path
) -> None:
    dev = start_dev()
    dev.wait_until_up()
    assert "real: the relay, a worker, sqlite, an embedded Valkey; data in" in dev.welcome
    assert "demo: the model is scripted, no LLM" in dev.welcome
    family = dev.family()
    assert len(family) == 4
    assert {name: dev.part(name) in family for name in PARTS} == dict.fromkeys(PARTS, True)
    done = dev.wait_for(dev.ask()["id"], "completed")
    assert done["model"] == "demo"
    # As a terminal does: the signal goes to the whole foreground group.
    os.killpg(dev.child.pid, signal.SIGINT)
    os.killpg(dev.child.pid, signal.SIGINT)
    assert dev.child.wait(DOWN_SECONDS) == 0, dev.text
    assert gone(family)
    assert "Traceback" not in dev.text
    assert "hijacked" not in dev.text
    assert dev.text.endswith("stopping\n")
    assert not (tmp_path / ".persona-relay/dev.env").exists()


def test_the_other_commands_work_on_it(shared: Shared) -> None:
    def command(words: str) -> subprocess.CompletedProcess[str]:
        return shared.command(f"set -a; . .persona-relay/dev.env; set +a; exec {PROGRAM} {words}")

    checked = command("doctor")
    assert checked.returncode == 0, checked
    id = shared.ask(model="demo-tokens-30-10")["id"]
    tailed = command(f"generations tail {id}")
    assert tailed.returncode == 0, tailed
    assert tailed.stdout == shared.read(id)["output"]["text"] + "\n"
    assert tailed.stderr.endswith("characters]\n")
    silent = shared.ask(model="demo-silent-after-2")["id"]
    shared.wait_for(silent, "running")
    cancelled = command(f"generations cancel {silent}")
    assert cancelled.stdout == f"{silent} is being cancelled\n", cancelled
    assert shared.wait_for(silent, "cancelled")["finished_at"] is not None


def test_a_ctrl_c_ends_the_following_and_not_the_generation(shared: Shared) -> None:
    id = shared.ask(model="demo-silent-after-2")["id"]
    shared.wait_for(id, "running")
    words = f"set -a; . .persona-relay/dev.env; set +a; exec {PROGRAM} generations tail {id}"
    output = shared.folder / "tail"
    with Child(
        ["sh", "-c", words], output=output, env=shared.environment, cwd=shared.folder
    ) as one:
        until(lambda: "attempt 1" in one.text(), within=UP_SECONDS)
        one.signal(signal.SIGINT)
        assert one.wait() == 130
        assert "Traceback" not in one.text()
    assert shared.read(id)["state"] == "running"
    assert httpx.post(f"{shared.url}/v1/generations/{id}/cancel", trust_env=False).is_success


def test_a_second_dev_on_the_same_data_or_port_is_refused_in_one_line(shared: Shared) -> None:
    port = shared.url.rpartition(":")[2]
    refused = {
        "--port 0": f"is in use by process {shared.child.pid}",
        f"--port {port} --data-dir other": f"port {port}: Address already in use",
    }
    for options, said in refused.items():
        done = shared.command(f"exec {PROGRAM} dev {options}")
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (shared.folder / "other").exists()
    assert len(shared.family()) == 4
    assert httpx.get(f"{shared.url}/readyz", trust_env=False).status_code == 200


@pytest.mark.parametrize("name", list(PARTS))
def test_what_crashes_is_named_and_started_again_and_nothing_is_lost(
    name: str, start_dev: StartDev
) -> None:
    dev = start_dev(RELAY_MODELS="*", RELAY_LEASE_SECONDS="2")
    dev.wait_until_up()
    id = dev.ask(model="demo-tokens-60-20")["id"]
    dev.hears(id, "t5")
    crashed = dev.part(name)
    os.kill(crashed, signal.SIGKILL)
    said = f"{name} was killed by SIGKILL (status -9); starting it again\n"
    until(lambda: said in dev.text and crashed not in dev.family(), within=UP_SECONDS)
    until(lambda: len(dev.family()) == len(PARTS) and dev.answers("/readyz"), within=UP_SECONDS)
    ended = dev.wait_for(id, "completed", "failed")
    if name == "model":
        assert ended["error"]["code"] == "model_truncated", ended
        ended = dev.wait_for(dev.ask(model="demo-tokens-60-20")["id"], "completed")
    assert ended["attempt"] == (2 if name == "worker" else 1)
    assert ended["output"]["text"].endswith("t60")
    family = dev.family()
    dev.child.signal(signal.SIGTERM)
    assert dev.child.wait(DOWN_SECONDS) == 0, dev.text
    assert gone(family)
    assert "Traceback" not in dev.text


def test_what_crashes_again_and_again_ends_everything(start_dev: StartDev) -> None:
    dev = start_dev()
    dev.wait_until_up()
    for crashes in range(len(PAUSES_SECONDS)):
        os.kill(dev.part("worker"), signal.SIGKILL)
        until(
            lambda crashes=crashes: (  # type: ignore[misc]
                dev.text.count("starting it again") == crashes + 1 and dev.is_whole()
            ),
            within=UP_SECONDS,
        )
    family = dev.family()
    os.kill(dev.part("worker"), signal.SIGKILL)
    assert dev.child.wait(DOWN_SECONDS) == 1, dev.text
    said = "worker was killed by SIGKILL (status -9) again and again; stopping everything\n"
    assert dev.text.endswith(said)
    assert gone(family)


def test_a_stop_while_it_starts_leaves_nothing_behind(start_dev: StartDev) -> None:
    for after in (1, 3):
        dev = start_dev()
        until(
            lambda dev=dev, after=after: len(dev.family()) >= after,  # type: ignore[misc]
            within=UP_SECONDS,
        )
        family = dev.family()
        dev.child.signal(signal.SIGTERM)
        assert dev.child.wait(DOWN_SECONDS) == 0, dev.text
        assert gone(family)
        assert "Traceback" not in dev.text


def test_killed_itself_it_takes_its_children_along_and_the_next_one_goes_on(
    start_dev: StartDev,
) -> None:
    given = {"RELAY_MODEL": "demo-tokens-40-10", "RELAY_LEASE_SECONDS": "2"}
    first = start_dev(**given)
    first.wait_until_up()
    family = first.family()
    id = first.ask()["id"]
    first.wait_for(id, "running")
    first.child.kill()
    until(lambda: gone(family))
    second = start_dev(**given)
    second.wait_until_up()
    ended = second.wait_for(id, "completed")
    assert ended["attempt"] == 2
    assert ended["output"]["text"].endswith("t40")


def test_stopped_in_mid_answer_it_keeps_all_and_the_next_one_goes_on(start_dev: StartDev) -> None:
    given = {"RELAY_MODEL": "demo-silent-after-2", "RELAY_LEASE_SECONDS": "2"}
    first = start_dev(**given, RELAY_TOKEN_TIMEOUT_SECONDS="60")
    first.wait_until_up()
    id = first.ask()["id"]
    first.wait_for(id, "running")
    family = first.family()
    first.child.signal(signal.SIGINT)
    assert first.child.wait(DOWN_SECONDS) == 0, first.text
    assert gone(family)
    second = start_dev(RELAY_LEASE_SECONDS="2", RELAY_TOKEN_TIMEOUT_SECONDS="1")
    second.wait_until_up()
    # What it was interrupted in ends; here with the reason that its model stays silent.
    ended = second.wait_for(id, "failed")
    assert ended["attempt"] == 2
    assert ended["error"]["code"] == "model_timeout"
    # Handed over, not lost: the worker was asked a second time, and had the time to.
    events = httpx.get(f"{second.url}{ended['events_url']}", trust_env=False).text
    assert '"reason":"handed_over"' in events


def test_with_a_model_of_ones_own_no_demo_model_is_started(
    start_dev: StartDev, tmp_path: Path
) -> None:
    port = free_port()
    argv = [str(PROGRAM), "demo-model", "--port", str(port)]
    with Child(argv, output=tmp_path / "model", cwd=tmp_path) as model:
        until(lambda: "http://" in model.text(), within=UP_SECONDS)
        # `.env` is read by this command.
        (tmp_path / ".env").write_text("RELAY_MODEL=demo-words-3\n")
        dev = start_dev(OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1")
        dev.wait_until_up()
        assert f"real: the model demo-words-3 at 127.0.0.1:{port}/v1" in dev.welcome
        assert "demo:" not in dev.welcome
        lines = dev.family().values()
        assert len(lines) == 3
        assert not any("demo-model" in line or "--demo" in line for line in lines)
        assert dev.wait_for(dev.ask()["id"], "completed")["model"] == "demo-words-3"


def test_under_make_a_ctrl_c_leaves_nothing_behind(start_dev: StartDev, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/persona-relay").symlink_to(PROGRAM)
    for name in ("pyproject.toml", "uv.lock", ".venv/bin/uv", ".venv/.synced-run", ".venv/.synced"):
        (tmp_path / name).touch()
    dev = start_dev(argv=(shutil.which("make") or "make", "run", "PORT=0"))
    dev.wait_until_up()
    family = dev.family()
    assert len(family) == 5
    os.killpg(dev.child.pid, signal.SIGINT)
    dev.child.wait(DOWN_SECONDS)
    until(lambda: gone(family), within=DOWN_SECONDS)
    assert "Traceback" not in dev.text
    assert "stopping\n" in dev.text


def test_a_reader_of_its_output_that_goes_away_does_not_end_it(tmp_path: Path) -> None:
    environment = made_hard(tmp_path)
    port = free_port()
    command = f"exec {PROGRAM} dev --port {port} 2>&1 | head -c 1"
    with Child(["bash", "-c", command], output=tmp_path / "out", env=environment, cwd=tmp_path):
        url = f"http://127.0.0.1:{port}/readyz"

        def ready() -> bool:
            try:
                return httpx.get(url, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        until(ready, within=UP_SECONDS, every=0.1)
        lock = tmp_path / ".persona-relay/dev.lock"
        dev = psutil.Process(int(lock.read_text()))
        family = [dev, *dev.children(recursive=True)]
        assert len(family) == 5
        dev.terminate()
        psutil.wait_procs(family, timeout=DOWN_SECONDS)
        assert not any(alive(one.pid) for one in family)
