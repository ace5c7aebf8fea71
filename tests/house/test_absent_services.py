"""A service that the machine lacks is one loud line, and under CI a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """Give a test file that needs a browser, twice, and one that skips itself."""
    (tmp_path / "test_probe.py").write_text(
        "import pytest\n"
        "def test_one(chromium_path): pass\n"
        "def test_two(chromium_path): pass\n"
        "def test_three(): pass\n",
        encoding="utf-8",
    )
    return tmp_path


def run(folder: Path, *, ci: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of `folder` with the project's fixtures on a machine without a browser."""
    kept = {name: value for name, value in os.environ.items() if name != "CHROMIUM_PATH"}
    arguments = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "/dev/null", "-q")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "--rootdir", folder, folder],
        cwd=ROOT,
        env={**kept, "PATH": str(folder), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_ci_the_tests_are_left_out_and_one_line_says_so(probe: Path) -> None:
    done = run(probe, ci="")
    assert done.returncode == 0, done.stdout
    loud = [line for line in done.stdout.splitlines() if "NOT PROVED HERE" in line]
    assert len(loud) == 1
    assert "Chromium (2 tests)" in loud[0]


def test_under_ci_each_of_them_fails(probe: Path) -> None:
    done = run(probe, ci="true")
    assert done.returncode == 1
    assert "Chromium is not installed, and CI leaves nothing out" in done.stdout


def test_under_ci_no_test_may_skip_itself(probe: Path) -> None:
    (probe / "test_probe.py").write_text(
        "import pytest\ndef test_lazy(): pytest.skip('not today')\n", encoding="utf-8"
    )
    assert run(probe, ci="").returncode == 0
    done = run(probe, ci="true")
    assert done.returncode == 1
    assert "not today" in done.stdout
