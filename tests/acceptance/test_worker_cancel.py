"""A cancellation takes effect whenever it comes, once, and keeps what was written."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.generation import State
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def closed(work: Work, within: float) -> None:
    """The model gives no answer any more."""

    async def is_closed() -> bool:
        return await work.upstreams() == 0

    await eventually(is_closed, within=within)


async def test_one_that_was_not_started_never_runs(work: Work) -> None:
    asked = await work.ask("Hello")
    outcome = await work.cancel(asked)
    assert outcome.ended_now
    await work.hire()
    later = await work.ask("Another")
    await work.ended(later)
    ended = await work.read(asked)
    assert (ended.state, ended.attempt, ended.output) == (State.CANCELLED, 0, None)
    assert [body["messages"][-1]["content"] for body in await work.requests()] == ["Another"]


async def test_in_mid_silence_the_upstream_is_closed_within_half_a_second(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(asked, len("t1 t2 t3"))
    assert await work.upstreams() == 1
    await work.cancel(asked)
    await closed(work, within=0.5)
    ended = await work.ended(asked, within=0.5)
    events = await work.told(asked)
    assert ended.state is State.CANCELLED
    assert ended.error is None
    assert ended.output is not None
    assert ended.output.text == text_of(events) == "t1 t2 t3"
    assert names_of(events) == ["status", "token", "cancelled"]
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2 t3", True)


async def test_without_a_word_of_the_model_nothing_is_kept(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-fast-silent")

    async def is_open() -> bool:
        return await work.upstreams() == 1

    await eventually(is_open)
    await work.cancel(asked)
    ended = await work.ended(asked, within=1.0)
    assert (ended.state, ended.output) == (State.CANCELLED, None)
    assert [role for role, _, _ in await work.turns(asked)] == ["user"]


async def test_twice_is_once(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(asked, len("t1 t2 t3"))
    await asyncio.gather(*(work.cancel(asked) for _ in range(5)))
    ended = await work.ended(asked)
    again = await work.cancel(asked)
    assert again.generation == ended
    assert [event.name for event in await work.told(asked)].count("cancelled") == 1


async def test_a_lost_hint_is_made_up_for_by_the_next_beat(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(asked, len("t1 t2 t3"))
    started = time.monotonic()
    await work.cancel(asked, hint=False)
    await work.ended(asked, within=2.0)
    await closed(work, within=0.5)
    assert time.monotonic() - started < 2.0


async def test_one_that_races_the_end_leaves_one_end_and_one_turn(work: Work) -> None:
    await work.hire()
    for number in range(12):
        asked = await work.ask(f"Hello {number}", model="demo-tokens-40-400")
        await work.wrote(asked, 1 + number * 9)
        await work.cancel(asked)
        ended = await work.ended(asked)
        events = await work.told(asked)
        assert ended.state in (State.CANCELLED, State.COMPLETED)
        assert ended.output is not None
        assert ended.output.text == text_of(events)
        assert [event.name for event in events if "generation" in event.data] == [ended.state.value]
        partial = ended.state is State.CANCELLED
        assert (await work.turns(asked))[1:] == [("assistant", ended.output.text, partial)]


async def test_asked_for_between_claim_and_first_token_it_is_obeyed(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-delay-3000")

    async def is_running() -> bool:
        return (await work.read(asked)).state is State.RUNNING

    await eventually(is_running)
    await work.cancel(asked)
    assert (await work.ended(asked, within=2.0)).state is State.CANCELLED


async def test_the_next_in_line_starts_after_a_cancelled_one(work: Work) -> None:
    await work.hire()
    asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
    await work.wrote(asked)
    waiting = [
        await work.store(
            f"Then {number}", model="demo-fast-echo",
            conversation_id=asked.conversation_id, on_active="queue",
        )
        for number in (1, 2)
    ]  # fmt: skip
    await work.cancel(asked)
    for one in waiting:
        assert (await work.ended(one)).state is State.COMPLETED
    assert [said for role, said, _ in await work.turns(asked) if role == "user"] == [
        "Hello",
        "Then 1",
        "Then 2",
    ]
