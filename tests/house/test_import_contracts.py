"""Each import contract is kept by the project, and is seen to fail when a file breaks it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("relay", "jobs", "persona_apply")

# Contract id -> a file of the project, and the line that must not be in it.
VIOLATIONS = [
    ("direction", "jobs/events.py", "import relay.problems"),
    ("direction", "persona_apply/apply.py", "import jobs.events"),
    ("pure", "persona_apply/apply.py", "import asyncio"),
    ("pure", "persona_apply/paths.py", "import os.path"),
    ("pure", "persona_apply/derive.py", "from datetime import datetime"),
    ("relay-runs-nothing", "relay/problems.py", "from persona_apply import apply"),
    ("relay-runs-nothing", "relay/problems.py", "import jobs.generate"),
    ("relay-runs-nothing", "relay/problems.py", "import jobs.provider"),
    ("relay-runs-nothing", "relay/problems.py", "import jobs.worker"),
    ("arq", "jobs/events.py", "import arq.connections"),
    ("arq", "relay/problems.py", "from arq import create_pool"),
    ("demo-model", "relay/demo_model/server.py", "import jobs.events"),
    ("no-circles", "jobs/cursor.py", "import jobs.events"),
    ("no-circles", "persona_apply/errors.py", "import persona_apply.apply"),
    ("openai", "jobs/events.py", "import openai"),
    ("openai", "relay/problems.py", "from openai import AsyncOpenAI"),
    ("opentelemetry", "jobs/generate.py", "from opentelemetry import trace"),
    ("opentelemetry", "relay/app.py", "import opentelemetry.trace"),
    ("prometheus", "jobs/publisher.py", "from prometheus_client import Counter"),
    ("prometheus", "relay/follow.py", "import prometheus_client"),
    ("relay-floors", "relay/follow.py", "import relay.routes"),
    ("relay-floors", "relay/services.py", "from relay import app"),
    ("relay-floors", "relay/routes/operation.py", "import relay.protocols.projection"),
    ("relay-floors", "relay/hub.py", "import relay.follow"),
    ("follow-without-http", "relay/follow.py", "from starlette.responses import Response"),
    ("follow-without-http", "relay/pulse.py", "import relay.problems"),
    ("jobs-floors", "jobs/database.py", "import jobs.store"),
    ("jobs-floors", "jobs/generate.py", "import jobs.worker"),
    ("kinds-declare", "jobs/kinds.py", "import jobs.own_tools"),
    ("kinds-declare", "jobs/kinds_setting.py", "from jobs import generate"),
    ("rescue-runs-nothing", "jobs/rescue.py", "import jobs.provider"),
    ("rescue-runs-nothing", "jobs/signals.py", "import jobs.generate"),
]


def contracts() -> dict[str, dict[str, Any]]:
    """Give the contracts of pyproject.toml by their id."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in settings["tool"]["importlinter"]["contracts"]}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the project's source that may be spoilt."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the linter over the packages in `tree` alone."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken(output: str) -> set[str]:
    """Give the names of the contracts that the linter's summary calls broken."""
    return set(re.findall(r"^(.+?) BROKEN$", output, flags=re.MULTILINE))


def test_the_project_keeps_every_contract(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS)
def test_an_import_that_breaks_a_contract_is_refused(
    copy: Path, contract: str, file: str, line: str
) -> None:
    spoilt = copy / file
    spoilt.write_text(f"{spoilt.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = lint_imports(copy, "--contract", contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert broken(done.stdout) == {contracts()[contract]["name"]}


def test_every_contract_is_seen_to_fail() -> None:
    assert {contract for contract, _, _ in VIOLATIONS} == set(contracts())
