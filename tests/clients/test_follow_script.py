"""`examples/follow.sh`, cut and stopped, prints every event of the answer once."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.clients.cutter import Cut
from tests.clients.place import Place
from tests.services import DelayingProxy, Direction
from tests.services.absent import absent
from tests.services.child import bound

SCRIPT = Path(__file__).parents[2] / "examples/follow.sh"
SAID = 'ChidÉ 🎉 says: "quotes", a \\ and a\nline. ' * 2


@asynccontextmanager
async def follow(
    url: str, *words: str, model: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The script at work."""
    if shutil.which("curl") is None:
        absent("curl")
    process = await asyncio.create_subprocess_exec(
        *bound("bash", str(SCRIPT), *words),
        env={**os.environ, "RELAY_URL": url, "RELAY_MODEL": model},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """What it printed, once it has ended."""
    async with asyncio.timeout(40):
        printed, said = await process.communicate()
    return printed.decode(), said.decode()


def text_of(printed: str) -> str:
    return "".join(json.loads(line).get("text", "") for line in printed.splitlines())


async def test_it_asks_and_goes_on_after_every_cut(place: Place) -> None:
    await place.work.hire()
    plan = place.plan(Cut(4), Cut(1, inside=True), Cut(0))
    async with follow(f"{place.url}{plan.path}", SAID, model="demo-echo-pace-20") as process:
        printed, said = await ended(process)
    assert process.returncode == 0, said
    assert plan.made == 3
    assert said.count("the connection ended") == 3
    assert text_of(printed) == SAID
    generation = json.loads(printed.splitlines()[-1])["generation"]
    assert generation["state"] == "completed"
    assert await place.committed(generation["id"]) == SAID


async def test_a_request_whose_answer_was_lost_is_the_same_generation(place: Place) -> None:
    await place.work.hire()
    async with DelayingProxy.before(place.url) as link:
        link.cut_before(b"HTTP/1.1 202", Direction.DOWN, times=2)
        async with follow(link.url(place.url), SAID, model="demo-fast-echo") as process:
            printed, said = await ended(process)
        assert link.counts.cuts == 2
    assert (process.returncode, said.count("no answer came")) == (0, 2), said
    assert text_of(printed) == SAID
    assert await place.generations() == 1


async def test_stopped_it_says_how_to_go_on_and_there_goes_on(place: Place) -> None:
    await place.work.hire()
    async with follow(place.url, SAID, model="demo-echo-pace-20") as process:
        assert process.stdout is not None
        first = b"".join([await process.stdout.readline() for _ in range(4)]).decode()
        process.terminate()
        rest, said = await ended(process)
    assert process.returncode == 130, said
    *_, generation_id, last_id = said.splitlines()[-1].rstrip("]").split()
    async with follow(place.url, generation_id, last_id) as process:
        printed, said = await ended(process)
    assert process.returncode == 0, said
    assert text_of(first + rest + printed) == SAID
    end = (await place.told(generation_id))[-1].id
    async with follow(place.url, generation_id, str(end)) as process:
        printed, _ = await ended(process)
    assert (process.returncode, printed) == (0, "")


async def test_what_is_not_there_or_failed_is_an_error(place: Place) -> None:
    await place.work.hire()
    async with follow(place.url, "gen_" + "0" * 26) as process:
        _, said = await ended(process)
    assert process.returncode == 1
    assert "HTTP 404" in said
    async with follow(place.url, "x" * 100_001) as process:
        _, said = await ended(process)
    assert process.returncode == 1
    assert '"field":"input"' in said
    assert "no answer" not in said
    async with follow(place.url, SAID, model="demo-fast-echo-truncated-after-5") as process:
        printed, _ = await ended(process)
    assert process.returncode == 1
    assert text_of(printed) == SAID[:5]
