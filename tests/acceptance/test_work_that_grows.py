"""Work that must not grow: statements and tasks of a generation with its tokens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import jobs
from jobs.beat import Beat
from jobs.generation import Generation, State
from jobs.rescue import Rescuer
from tests.jobs.at_work import Work, at_work, text_of
from tests.services import eventually
from tests.services.tallies import statements, tasks_made_by


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


SHORT, LONG = 3, 3000


async def answer(work: Work, tokens: int) -> Generation:
    """What is stored and not enqueued yet, and will have so many tokens."""
    return await work.store("Hello", model=f"demo-fast-tokens-{tokens}")


async def pieces_told(work: Work, asked: Generation) -> int:
    """Runs it; in how many pieces its text left, once nothing is under way for it any more."""
    await work.queue.enqueue(asked.id, 0)
    events = await work.told(asked, within=20)
    await eventually(lambda: not [one for one in asyncio.all_tasks() if asked.id in one.get_name()])
    assert text_of(events).count("t") == int(asked.model.rsplit("-", 1)[1])
    return sum(event.name == "token" for event in events)


@pytest.fixture
async def alone(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A worker that does nothing but its generations: it neither beats nor rescues."""

    async def rests(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Beat, "run", rests)
    monkeypatch.setattr(Rescuer, "run", rests)
    await work.hire(relay_lease_seconds=3600)
    # The first one opens connections.
    await pieces_told(work, await answer(work, SHORT))
    return work


async def test_a_long_answer_takes_the_very_statements_of_a_short_one(alone: Work) -> None:
    taken, pieces = [], []
    for tokens in (SHORT, LONG):
        asked = await answer(alone, tokens)
        with statements() as seen:
            pieces.append(await pieces_told(alone, asked))
        taken.append([statement for statement in seen if not statement.startswith("BEGIN")])
    assert pieces[0] < pieces[1]
    assert taken[0] == taken[1]
    assert len(taken[0]) == 4, "one to claim, three to commit"


async def test_a_long_answer_makes_as_many_tasks_as_a_short_one(alone: Work) -> None:
    made, pieces = [], []
    for tokens in (SHORT, LONG):
        asked = await answer(alone, tokens)
        with tasks_made_by(jobs) as tasks:
            pieces.append(await pieces_told(alone, asked))
        # The next request is made ahead, whenever this one has been under way for a while.
        made.append(sorted(one for one in tasks if not one.startswith("Provider._post ")))
    assert pieces[0] < pieces[1]
    assert made[0] == made[1]
    assert made[0], "its attempt at least"


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


async def test_a_running_generation_is_two_lasting_tasks_and_none_a_token(work: Work) -> None:
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
