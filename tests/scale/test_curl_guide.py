"""docs/curl.md, run from top to bottom with one token: a user does all that the page does."""

import re
import subprocess
import zipfile
from pathlib import Path

import anyio
import pytest

from jobs.store.tokens import create_token
from tests.scale.fleet import OWNER, Fleet

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/curl.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.+)\n([\s\S]*?)(?=^## |\Z)", GUIDE, re.MULTILINE)
TOLD = {
    "Who you are": r'"data":\[',
    "Ask, and watch it stream": r"event: token[\s\S]+event: completed",
    "Ask first, watch later": (
        r"event: status[\s\S]+event: completed[\s\S]+retry: \d+\n\nevent: token\n"
        r"data: .*\nid: 1\.\d+\.62\n"
        r'[\s\S]+event: completed[\s\S]+"state":"completed"'
    ),
    "Go on in a conversation": (
        r'"active_generation":{[\s\S]+"waiting":\[{[\s\S]+event: completed[\s\S]+"cancelled"'
    ),
    "Make a persona": r"event: file_delta[\s\S]+event: completed[\s\S]+\"version\":1",
    "Refine it": r"event: completed[\s\S]+\"version\":1",
    "See everything that happens": r"event: snapshot",
    "Give a stream to somebody without a token": r"event: completed",
    "Clean up": r"",
}
MARK = "=== "


def script() -> str:
    """All the shell of the page, each section under its name."""
    parts = ["set -euo pipefail"]
    for name, text in SECTIONS:
        parts += [f"echo; echo '{MARK}{name}'", *re.findall(r"```sh\n([\s\S]*?)```", text)]
    # The last section removes what the test looks at.
    return "\n".join(parts).replace("rm relay.curlrc persona.zip", "ls -l relay.curlrc persona.zip")


@pytest.mark.timeout(180)
async def test_the_guide_does_everything_with_curl_and_one_token(
    fleet: Fleet, tmp_path: Path
) -> None:
    token, _ = await create_token(fleet.db, "me", OWNER, ("generate", "read"), None)
    environment = {**fleet.environment, "RELAY": fleet.nginx_url, "TOKEN": token}
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            ["bash", "-c", script()],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr}"
    told = dict(part.split("\n", 1) for part in done.stdout.split(f"\n{MARK}")[1:])
    assert told.keys() == TOLD.keys()
    for name, pattern in TOLD.items():
        assert re.search(pattern, told[name]), f"{name}: {told[name]}"
    assert token not in done.stdout + done.stderr
    assert "-rw-------" in told["Clean up"]
    with zipfile.ZipFile(tmp_path / "persona.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist()
    assert await fleet.rows("SELECT 1 FROM personas WHERE deleted_at IS NULL") == []


def test_the_guide_makes_every_call_that_the_page_makes() -> None:
    calls = set()
    for path in (ROOT / "relay/web").rglob("*.js"):
        for found in re.findall(r"[`\"/](v1/[^`\"?\s]*)", path.read_text(encoding="utf-8")):
            calls.add(re.sub(r"\${[^}]*}+", "*", found).replace("**", "*").rstrip("*/)"))
    assert {"v1/personas/*/export", "v1/personas/*/files", "v1/generations/*/cancel"} <= calls
    guide = re.sub(r"\$(\(.*\| field id\)|[A-Z]+)", "*", GUIDE)
    assert not {call for call in calls if f"/{call}" not in guide}
