"""`.ci/run` installs what is missing or says what it lacks, and leaves nothing out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "dirname", "env", "mktemp", "rm")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Give a folder of programs that is all a machine has: no browser, no package manager."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    (tools / "python3").symlink_to(sys.executable)
    put(tools / "make", 'echo "make $* CI=$CI"')
    return tools


def put(path: Path, script: str) -> None:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def land(machine: Path) -> subprocess.CompletedProcess[str]:
    """Run the check with these programs and no others."""
    return subprocess.run(
        [machine / "bash", ROOT / ".ci/run"],
        env={"PATH": str(machine)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_the_readmes_commands_and_says_that_the_outcome_decides(machine: Path) -> None:
    put(machine / "chromium", "exit 0")
    put(machine / "node", "exit 0")
    put(machine / "apt-get", "exit 0")
    done = land(machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "make check CI=true",
        "make test CI=true",
        "make test-clients CI=true",
    ]


def test_a_failed_check_is_a_failure_and_the_tests_do_not_hide_it(machine: Path) -> None:
    put(machine / "chromium", "exit 0")
    put(machine / "node", "exit 0")
    put(machine / "apt-get", "exit 0")
    put(machine / "make", '[ "$1" = test ]')
    assert land(machine).returncode != 0


def test_what_is_missing_and_cannot_be_installed_is_named_in_one_line(machine: Path) -> None:
    done = land(machine)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "chromium" in done.stderr
    assert "nodejs" in done.stderr


def test_the_package_managers_noise_is_shown_only_when_it_fails(machine: Path) -> None:
    put(machine / "apt-get", 'echo "noise of $1"; [ "$1" = update ]')
    done = land(machine)
    assert done.returncode == 1
    assert "noise of install" in done.stderr
    put(machine / "apt-get", 'echo "noise of $1"')
    done = land(machine)
    assert done.returncode == 0, done.stderr
    assert "noise" not in done.stdout + done.stderr
