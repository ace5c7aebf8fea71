"""Which part of the suite is run, and the Node that runs the drivers."""

import os
from pathlib import Path

import pytest

from tests.clients.npm.node import find_node
from tests.services.absent import absent

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node() -> Path:
    """The Node that `make test-clients` installs, its packages beside the drivers."""
    found = find_node()
    if found is None or not (HERE / "node_modules").is_dir():
        absent("what `make test-clients` installs")
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests to `make test-clients`, which sets CLIENTS."""
    if os.environ.get("CLIENTS"):
        return
    npm = [item for item in items if item.path.is_relative_to(HERE)]
    if npm:
        config.hook.pytest_deselected(items=npm)
        items[:] = [item for item in items if item not in npm]
