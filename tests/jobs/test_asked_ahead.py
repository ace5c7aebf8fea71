"""A request that went ahead of its round serves it once, and is closed where no round takes it."""

import asyncio
import time
from contextlib import suppress

import pytest

from jobs.provider import Finished, ModelEvent, ProviderFailed, TextPiece
from tests.jobs.provider_runs import ASK, opened
from tests.jobs.raw_model import ANSWER, HEAD, Reset, Script, Stall, WaitFor, refusal


def whole(events: list[ModelEvent]) -> bool:
    """Whether this is the scripted answer, to its end."""
    text = "".join(one.text for one in events if isinstance(one, TextPiece))
    return text == "Hello" and isinstance(events[-1], Finished)


async def test_a_round_takes_the_answer_that_was_asked_for_ahead() -> None:
    events: list[ModelEvent] = []
    async with opened(ANSWER) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        await model.asked.wait()
        assert asked.is_left
        deadline = time.monotonic() + 5
        await provider.round(ASK, events.extend, first_deadline=deadline, asked=asked)
        assert not asked.is_left
        # Again a request of its own.
        await provider.round(ASK, lambda _: None, first_deadline=deadline, asked=asked)
        await asked.let_go()
        assert len(model.requests) == 2
        assert model.connections == 1
    assert whole(events)


@pytest.mark.parametrize("first", [refusal(429), (Reset(),)], ids=["refused", "broken"])
async def test_what_failed_ahead_is_sent_again_by_the_round(first: Script) -> None:
    events: list[ModelEvent] = []
    async with opened(first, ANSWER) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        deadline = time.monotonic() + 5
        await provider.round(ASK, events.extend, first_deadline=deadline, asked=asked)
        await asked.let_go()
        assert len(model.requests) == 2
    assert whole(events)


async def test_what_is_silent_ahead_ends_at_the_rounds_deadline_and_is_closed() -> None:
    async with opened((Stall(),)) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        await model.asked.wait()
        deadline = time.monotonic() + 0.1
        with pytest.raises(ProviderFailed) as failed:
            await provider.round(ASK, lambda _: None, first_deadline=deadline, asked=asked)
        assert failed.value.code == "model_timeout"
        async with asyncio.timeout(2):
            await model.left.wait()
        await asked.let_go()
        assert len(model.requests) == 1


@pytest.mark.parametrize("script", [(Stall(),), (HEAD, Stall())], ids=["no head", "head"])
async def test_what_no_round_takes_is_closed(script: Script) -> None:
    async with opened(script) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        await model.asked.wait()
        await asked.let_go()
        async with asyncio.timeout(2):
            await model.left.wait()
        await asked.let_go()


async def test_an_answer_that_has_come_when_it_is_let_go_is_closed() -> None:
    async with opened((HEAD, Stall())) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        assert asked._asking is not None
        await asyncio.wait([asked._asking])
        assert not model.left.is_set()
        await asked.let_go()
        async with asyncio.timeout(2):
            await model.left.wait()


async def test_what_failed_and_was_let_go_is_no_error() -> None:
    async with opened(refusal(500)) as (_, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        assert asked._asking is not None
        await asyncio.wait([asked._asking])
        await asked.let_go()
        assert not asked.is_left


@pytest.mark.parametrize("head_came", [False, True])
async def test_a_cancelled_round_leaves_nothing_open(head_came: bool) -> None:
    go = asyncio.Event()
    async with opened((WaitFor(go), HEAD, Stall())) as (model, provider):
        asked = provider.ask_ahead(ASK)
        asked.confirm()
        await model.asked.wait()
        round_ = asyncio.create_task(
            provider.round(ASK, lambda _: None, first_deadline=time.monotonic() + 5, asked=asked)
        )
        await asyncio.sleep(0)
        assert asked._asking is not None
        if head_came:
            go.set()
            await asyncio.wait([asked._asking])
        # Where the head has come, in the very turn before the round would take it.
        round_.cancel()
        with suppress(asyncio.CancelledError):
            await round_
        await asked.let_go()
        if not head_came:
            go.set()
        async with asyncio.timeout(2):
            await model.left.wait()


async def test_nobody_has_an_answer_before_it_is_confirmed() -> None:
    events: list[ModelEvent] = []
    async with opened(ANSWER) as (model, provider):
        asked = provider.ask_ahead(ASK)
        before: list[list[ModelEvent]] = []
        asked.when_confirmed(lambda: before.append(events.copy()))
        round_ = asyncio.create_task(
            provider.round(ASK, events.extend, first_deadline=time.monotonic() + 5, asked=asked)
        )
        assert asked._asking is not None
        await asyncio.wait([asked._asking])
        # Longer than the whole answer takes to be read.
        await asyncio.sleep(0.05)
        assert (events, before, round_.done()) == ([], [], False)
        asked.confirm()
        # What begins with it comes before the first word.
        assert before == [[]]
        await round_
        assert len(model.requests) == 1
    assert whole(events)
    late: list[str] = []
    asked.when_confirmed(lambda: late.append("at once"))
    assert late == ["at once"]


async def test_a_failure_ahead_is_told_once_it_is_confirmed() -> None:
    async with opened(refusal(400)) as (_, provider):
        asked = provider.ask_ahead(ASK)
        round_ = asyncio.create_task(
            provider.round(ASK, lambda _: None, first_deadline=time.monotonic() + 5, asked=asked)
        )
        assert asked._asking is not None
        await asyncio.wait([asked._asking])
        await asyncio.sleep(0.05)
        assert not round_.done()
        asked.confirm()
        with pytest.raises(ProviderFailed):
            await round_
        await asked.let_go()
