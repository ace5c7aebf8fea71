"""What a stream holds while it is open: two tasks, one wait for all of them, and nothing after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest

from relay.stopping import Stopping
from tests.relay.live import Live, relay_settings, served
from tests.relay.stage import authoring
from tests.services import eventually


@pytest.fixture
async def live(migrated_url: str, redis_url: str) -> AsyncIterator[Live]:
    """A live relay, and who writes."""
    async with (
        authoring(migrated_url, redis_url, owner="local") as author,
        served(relay_settings(migrated_url, redis_url), author) as live,
    ):
        yield live


def relay_tasks() -> int:
    """The tasks of this process that run what answers requests."""
    running = 0
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        where = "" if code is None else code.co_filename.split("/tests/")[-1]
        running += any(part in where for part in ("/relay/", "uvicorn/protocols", "anyio", "sse_"))
    return running


async def test_an_open_stream_is_two_tasks_and_all_of_them_wait_together_for_the_end(
    live: Live,
) -> None:
    log = await live.author.running()
    counts = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            for _ in range(10):
                answer = await stack.enter_async_context(live.follow(log))
                await answer.hears(1)
            counts.append(relay_tasks())
        assert counts[1] - counts[0] == 2 * 10
        assert [one.get_name() for one in asyncio.all_tasks()].count("stopping") == 1
    pulse = live.services.sources.pulse
    await eventually(lambda: pulse.streams == 0)
    await eventually(lambda: "stopping" not in {one.get_name() for one in asyncio.all_tasks()})


async def test_all_streams_are_cut_when_the_server_stops_and_so_are_later_ones() -> None:
    stops = asyncio.Event()

    async def until_stopped() -> None:
        await stops.wait()

    stopping = Stopping()
    cuts = [anyio.CancelScope() for _ in range(4)]
    for cut in cuts[:3]:
        stopping.add(cut, until_stopped)
    stopping.discard(cuts[2])
    await asyncio.sleep(0)
    assert not any(cut.cancel_called for cut in cuts)
    stops.set()
    await eventually(lambda: cuts[0].cancel_called and cuts[1].cancel_called)
    assert not cuts[2].cancel_called
    stopping.add(cuts[3], until_stopped)
    await eventually(lambda: cuts[3].cancel_called)
    for cut in cuts:
        stopping.discard(cut)
