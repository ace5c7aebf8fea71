"""A worker holds the text of a running answer once, whatever the number of its tokens."""

import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import jobs
from jobs.events import frame_cursor
from jobs.generation import Generation
from tests.jobs.at_work import Work, at_work
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


@contextmanager
def traced() -> Iterator[None]:
    """What is allocated meanwhile is known by its place in the code."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def held_by_jobs() -> int:
    """Bytes that the worker's own code holds of what it has allocated while traced."""
    gc.collect()
    own = tracemalloc.Filter(True, f"{Path(jobs.__file__).parent}/*")
    traces = tracemalloc.take_snapshot().filter_traces([own])
    return sum(one.size for one in traces.statistics("filename"))


async def length_of_log(work: Work, generation: Generation) -> int:
    """How much text its log has, by its last entry: to read them all takes the worker's time."""
    attempt, seq = await work.stream_log.tail(generation.id)
    page = await work.stream_log.read(generation.id, attempt, max(1, seq))
    return frame_cursor(page.frames[-1]).offset if page is not None and page.frames else 0


async def test_a_long_answer_is_held_once_and_not_a_token_at_a_time(work: Work) -> None:
    await work.hire()
    await work.ended(await work.ask("the first opens connections"))
    tokens = 40_000
    text = " ".join(f"t{number}" for number in range(1, tokens + 1))

    async def is_there() -> bool:
        return await length_of_log(work, asked) == len(text)

    with traced():
        before = held_by_jobs()
        asked = await work.ask("Hello", model=f"demo-fast-tokens-50000-silent-after-{tokens}")
        await eventually(is_there, within=30, every=0.05)
        held = held_by_jobs() - before
    assert await work.text_so_far(asked) == text
    # With all pieces kept beside the log it is 2.7 times the text.
    assert len(text) < held < len(text) * 1.5 + 100_000
