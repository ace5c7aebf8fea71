"""`relay.js` in Node, where there is no page: `relay.test.mjs`, run by Node's own test runner."""

import os
import subprocess
from pathlib import Path


def test_the_module_keeps_its_promises_in_node(node_path: Path, relay_url: str) -> None:
    script = Path(__file__).with_name("relay.test.mjs")
    done = subprocess.run(
        [node_path, "--test", "--test-reporter=tap", script],
        env={**os.environ, "RELAY_URL": f"{relay_url}/"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout
