"""`make` sets itself up, says what it lacks, and gets out of the way of Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.services.waiting import until

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"


@pytest.fixture(autouse=True)
def no_make_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each make as a user's own: one inside `make test` would say where it is."""
    for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS", "ARGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with the Makefile in it, and a virtual environment that looks ready."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in (".venv/bin/uv", ".venv/.synced-run", ".venv/.synced"):
        (tmp_path / name).touch()
    return tmp_path


def put(path: Path, program: str) -> None:
    """Write an executable Python program."""
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(program)}", encoding="utf-8")
    path.chmod(0o755)


def test_help_names_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert targets is not None
    shown = subprocess.run([MAKE, "-C", ROOT, "help"], capture_output=True, text=True, check=True)
    assert re.findall(r"^  make ([\w-]+) ", shown.stdout, flags=re.MULTILINE) == targets[1].split()


def test_without_a_new_enough_python_one_line_says_so(project: Path) -> None:
    shutil.rmtree(project / ".venv")
    done = subprocess.run(
        [MAKE, "run"],
        cwd=project,
        env={"PATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr.splitlines()[0]


def test_a_changed_lock_is_synced_before_the_run_and_only_then(project: Path) -> None:
    put(project / ".venv/bin/uv", "import sys; print('synced', *sys.argv[1:])")
    put(project / ".venv/bin/persona-relay", "import sys; print('ran', *sys.argv[1:])")
    for name in (".venv/.synced-run", ".venv/.synced"):
        (project / name).touch()

    def made() -> list[str]:
        done = subprocess.run(
            [MAKE, "run", "PORT=8001"], cwd=project, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    ran = "ran dev --port 8001"
    assert made() == [ran]
    newer = (project / ".venv/.synced-run").stat().st_mtime + 10
    os.utime(project / "uv.lock", (newer, newer))
    assert made() == ["synced sync --locked --inexact --no-dev", ran]


def test_ctrl_c_reaches_the_program_once_and_make_adds_no_word(project: Path) -> None:
    put(
        project / ".venv/bin/persona-relay",
        """
        import signal
        interrupts = {signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, interrupts)
        print("running", flush=True)
        signal.sigwait(interrupts)
        again = signal.sigtimedwait(interrupts, 0.2)
        print("heard twice" if again else "heard once", flush=True)
        """,
    )
    output = project / "output"
    with output.open("wb") as sink:
        make = subprocess.Popen(
            [MAKE, "run"], cwd=project, stdout=sink, stderr=sink, start_new_session=True
        )
        until(lambda: b"running" in output.read_bytes())
        # As a terminal does: the signal goes to the whole group.
        os.killpg(make.pid, signal.SIGINT)
        code = make.wait(10)
    assert output.read_text() == "running\nheard once\n"
    assert code in (0, -signal.SIGINT)


def test_sigterm_to_make_stops_the_program(project: Path) -> None:
    put(
        project / ".venv/bin/persona-relay",
        """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        print("running", flush=True)
        signal.sigwait({signal.SIGTERM})
        print("stopped", flush=True)
        """,
    )
    output = project / "output"
    with output.open("wb") as sink:
        make = subprocess.Popen([MAKE, "run"], cwd=project, stdout=sink, stderr=sink)
        until(lambda: b"running" in output.read_bytes())
        make.terminate()
        assert make.wait(10) in (0, -signal.SIGTERM)
    assert output.read_text() == "running\nstopped\n"
