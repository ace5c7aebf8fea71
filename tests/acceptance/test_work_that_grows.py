"""Work that must not grow: statements with the text of a generation, tasks with its tokens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from jobs.generation import State
from tests.jobs.at_work import Work, at_work
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


@contextmanager
def writes() -> Iterator[list[str]]:
    """The writing statements of all engines meanwhile, but for those of beats and rescue."""
    statements: list[str] = []

    def note(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: bool) -> None:
        words = statement.split()
        # The rescuer's first round forgets old breakers, at whatever moment that comes.
        others = "workers" in words[:3] or words[:3] == ["DELETE", "FROM", "breakers"]
        if words[0] in ("INSERT", "UPDATE", "DELETE") and not others:
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_worker_writes_as_often_for_a_long_answer_as_for_a_short_one(work: Work) -> None:
    await work.hire()
    await work.ended(await work.ask("the first opens connections"))
    counts = []
    for tokens in (3, 3000):
        asked = await work.store("Hello", model=f"demo-fast-tokens-{tokens}")
        with writes() as statements:
            await work.queue.enqueue(asked.id, 0)
            ended = await work.ended(asked)
            await work.told(asked)
        assert ended.state is State.COMPLETED
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 4, "one to claim, three to commit"


async def tasks_at_rest() -> int:
    """How many tasks of this process run code of the worker for longer than a moment."""
    looks = []
    for _ in range(20):
        # A beat, a poll and a round of the rescuer are tasks too, for some milliseconds.
        looks.append(tasks_of_jobs())
        await asyncio.sleep(0.01)
    return min(looks)


def tasks_of_jobs() -> int:
    """How many run it now, but for the one request that is made before it is asked for."""
    names = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "/jobs/" in code.co_filename.split("/tests/")[-1]:
            names.append(code.co_qualname)
    return len(names) - ("Provider._post" in names)


async def test_a_running_generation_is_two_tasks_and_none_a_token(work: Work) -> None:
    await work.hire()
    counts = []
    for _ in range(2):
        for _ in range(10):
            asked = await work.ask("Hello", model="demo-fast-tokens-300-silent-after-200")
            await work.wrote(asked, len("t1 ") * 200)
        await eventually(
            lambda: not [one for one in asyncio.all_tasks() if "publish" in one.get_name()]
        )
        counts.append(await tasks_at_rest())
    assert counts[1] - counts[0] == 2 * 10


async def test_a_quick_stream_that_is_alone_has_fewer_entries_than_tokens(work: Work) -> None:
    # Slow enough for any machine to tell how quick that is.
    await work.hire(relay_flush_ms=400)
    asked = await work.ask("Hello", model="demo-tokens-16-10")
    assert (await work.ended(asked)).state is State.COMPLETED
    events = await work.told(asked)
    tokens = [event.data["text"] for event in events if event.name == "token"]
    assert "".join(tokens).split() == [f"t{number}" for number in range(1, 17)]
    # Ten where no pair comes apart.
    assert len(tokens) <= 13
