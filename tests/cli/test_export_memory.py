"""An export's memory does not grow with what is exported: measured in a process of its own.

`EXPORT_MEGABYTES=500` measures what is promised: 500 MB of rows, at most 64 MB more resident.
"""

import asyncio
import os
import secrets
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.database import Database, migrate
from tests.conformance.acts import Acts, change
from tests.services import Child

MEGABYTES = int(os.environ.get("EXPORT_MEGABYTES", "40"))
ALLOWED_MEGABYTES = min(64.0, MEGABYTES * 0.4)
FILES = 64
FILE_BYTES = 3_100
LARGE_FILES = 20

MEASURE = """
import re, sys
from pathlib import Path
from relay.cli import run

def kilobytes(name):
    # Of this program alone: what getrusage calls its peak may be its parent's.
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

small, large = sys.argv[1:]
assert run(["personas", "export", "--owner", "small", "-o", small]) == 0
before = kilobytes("VmRSS")
assert run(["personas", "export", "--owner", "large", "-o", large]) == 0
print("grown by", (kilobytes("VmHWM") - before) / 1000)
"""


async def _store(url: str) -> int:
    """Stores one small persona, and many and a large one; how many files the latter have."""
    await migrate(url)
    async with Database.open(url) as database:
        acts = Acts(database)
        await acts.worker("wrk_1")
        await acts.persona(change({"soul.md": "x"}), owner="small")
        large = {f"{n:03}.md": secrets.token_hex(500_000) for n in range(LARGE_FILES)}
        await acts.persona(change(large), owner="large")
        stored, files = LARGE_FILES * 1_000_000, LARGE_FILES
        while stored < MEGABYTES * 1_000_000:
            small = {f"part/{n:03}.md": secrets.token_hex(FILE_BYTES // 2) for n in range(FILES)}
            await acts.persona(change(small), owner="large")
            stored += FILES * FILE_BYTES
            files += FILES
        return files


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process its own peak")
@pytest.mark.timeout(900)
def test_an_export_takes_the_same_memory_whatever_its_size(
    database_url: str, tmp_path: Path
) -> None:
    files = asyncio.run(_store(database_url))
    script, out = tmp_path / "measure.py", tmp_path / "out.zip"
    script.write_text(MEASURE)
    argv = [sys.executable, str(script), str(tmp_path / "small.zip"), str(out)]
    env = {**os.environ, "RELAY_DATABASE_URL": database_url, "PYTHONPATH": os.getcwd()}
    with Child(argv, output=tmp_path / "said", env=env) as child:
        assert child.wait(within=600) == 0, child.text()
        grown = float(child.text().rsplit("grown by", 1)[1])
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
    described = sum(name.endswith("/persona.json") for name in names)
    assert len(names) - described == files
    assert described == 1 + (files - LARGE_FILES) // FILES
    assert out.stat().st_size > MEGABYTES * 1e6 * 0.4
    assert grown < ALLOWED_MEGABYTES, f"{grown:.1f} MB more"
