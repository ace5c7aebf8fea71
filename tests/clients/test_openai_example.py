"""`examples/openai_resume.py`, killed again and again, ends with the committed text."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.clients.cutter import Cut
from tests.clients.openai_python import generation_of
from tests.clients.place import Place
from tests.services import Child, DelayingProxy, eventually

SCRIPT = Path(__file__).parents[2] / "examples" / "openai_resume.py"
SAID = "ChidÉ 🎉 tells of " + ", of ".join(f"thing {number}" for number in range(9))
MODEL = "demo-echo-pace-30"
PATIENCE = 20.0


class Runs:
    """The script, run as often as a test wants, with one memory."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory
        self.memory = directory / "answer.json"
        self.count = 0

    def start(self) -> Child:
        """The script once more."""
        self.count += 1
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": f"{self._url}/openai/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODEL": MODEL,
            "PYTHONIOENCODING": "utf-8",
        }
        argv: list[str | Path] = [sys.executable, SCRIPT, self.memory, SAID]
        return Child(argv, output=self._directory / f"run{self.count}.log", env=environment)

    def remembered(self) -> dict[str, Any]:
        """What it remembers now."""
        found: dict[str, Any] = (
            json.loads(self.memory.read_text()) if self.memory.exists() else {"seen": -1}
        )
        return found

    async def killed_after(self, events: int) -> None:
        """A run that dies of SIGKILL once it has seen so many events more."""
        wanted = self.remembered()["seen"] + events
        with self.start() as child:
            await eventually(lambda: self.remembered()["seen"] >= wanted, within=PATIENCE)
            assert child.exit_code is None
            child.kill()

    async def finished(self) -> str:
        """What a run that is left alone printed."""
        with self.start() as child:
            await eventually(lambda: child.exit_code is not None, within=PATIENCE)
            assert child.exit_code == 0, child.text()
            return child.text()


async def test_killed_anywhere_it_goes_on_where_it_stopped(place: Place, tmp_path: Path) -> None:
    await place.work.hire()
    runs = Runs(place.url, tmp_path)
    for events in (1, 9):
        await runs.killed_after(events)
    stopped_at = runs.remembered()["seen"]
    printed = await runs.finished()
    [request] = await place.work.requests()
    assert request["messages"][-1]["content"] == SAID
    memory = runs.remembered()
    assert memory["seen"] > stopped_at
    assert memory["text"] == await place.committed(generation_of(memory["id"])) == SAID
    assert f"[going on after event {stopped_at} of {memory['id']}]" in printed
    assert printed.replace(f"[going on after event {stopped_at} of {memory['id']}]\n", "") == (
        f"{SAID}[completed]\n"
    )
    # Once more, with nothing left to be told.
    assert (await runs.finished()).endswith("[completed]\n")
    assert runs.remembered() == memory
    assert len(await place.work.requests()) == 1


async def test_cut_off_before_it_knows_its_response_it_asks_for_no_second(
    place: Place, tmp_path: Path
) -> None:
    await place.work.hire()
    plan = place.plan(Cut(0), Cut(0, inside=True))
    runs = Runs(place.url + plan.path, tmp_path)
    assert (await runs.finished()).endswith(f"{SAID}[completed]\n")
    assert plan.made == 2
    assert await place.generations() == 1


async def test_it_outlives_a_connection_that_breaks(place: Place, tmp_path: Path) -> None:
    await place.work.hire()
    async with DelayingProxy.before(place.url) as link:
        runs = Runs(link.url(place.url), tmp_path)
        with runs.start() as child:
            for seen in (6, 12):
                await eventually(lambda n=seen: runs.remembered()["seen"] >= n, within=PATIENCE)
                assert link.abort() >= 1
            await asyncio.wait_for(asyncio.to_thread(child.wait, PATIENCE), PATIENCE + 1)
            assert child.exit_code == 0
        assert child.text().count("[the connection broke") >= 2
    assert runs.remembered()["text"] == SAID
