"""`persona-relay dev`: everything comes up with one command, and nothing of it stays behind."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from relay.family import PAUSES_SECONDS
from tests.relay.dev_rig import (
    DOWN_SECONDS,
    PARTS,
    PROGRAM,
    ROOT,
    UP_SECONDS,
    Shared,
    StartDev,
    gone,
    made_hard,
    starting,
)
from tests.relay.test_child import alive
from tests.services import Child, free_port
from tests.services.waiting import until


@pytest.fixture
def start_dev(tmp_path: Path) -> Iterator[StartDev]:
    """Start `dev` in the test's own folder."""
    with starting(tmp_path, made_hard(tmp_path)) as start:
        yield start


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A `dev` that is up, and stays so."""
    folder = tmp_path_factory.mktemp("shared")
    environment = made_hard(folder)
    with starting(folder, environment) as start:
        dev = start(RELAY_MODELS="*", RELAY_LEASE_SECONDS="2")
        dev.wait_until_up()
        yield Shared(dev, folder, environment)


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
    # With a short lease a worker that a busy machine holds up counts as lost too.
    lease = "2" if name == "worker" else "10"
    dev = start_dev(RELAY_MODELS="*", RELAY_LEASE_SECONDS=lease)
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
