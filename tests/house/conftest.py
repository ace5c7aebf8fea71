"""Leaves out what needs an nginx where there is none; the run's summary says so."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.services.absent import ABSENT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NEEDS_NGINX = Path(__file__).with_name("test_nginx.py")
collect_ignore = [] if NGINX else [NEEDS_NGINX.name]


@pytest.fixture
def nginx() -> str:
    """The installed nginx."""
    if NGINX is None:
        raise RuntimeError("a test that needs nginx was collected without it")
    return NGINX


def pytest_configure(config: pytest.Config) -> None:
    """Count what is left out: no machine must have nginx, so CI does not fail for it."""
    if NGINX is None:
        tests = NEEDS_NGINX.read_text(encoding="utf-8").count("\nasync def test_")
        config.stash.setdefault(ABSENT, Counter())["nginx"] = tests
