"""The tries that the openai SDK makes by itself never make a second generation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from jobs.store import intake
from relay import accepting
from tests.clients.openai_python import async_client_of, generation_of
from tests.clients.place import Place
from tests.clients.told import SAID
from tests.services import DelayingProxy, Direction, eventually

ANSWER = b"HTTP/1.1 200"


@asynccontextmanager
async def losing(place: Place, tries: int) -> AsyncIterator[tuple[Any, DelayingProxy]]:
    """The SDK behind a link that loses this many answers, after the relay has stored."""
    async with DelayingProxy.before(place.url) as link:
        link.cut_before(ANSWER, Direction.DOWN, times=tries)
        async with async_client_of(link.url(place.url), max_retries=tries) as client:
            yield client, link


async def generations(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await place.http.get("/v1/generations?limit=100")).json()["data"]
    return found


@pytest.mark.parametrize(
    ("tries", "named"), [(1, {"background": False}), (2, {"background": True})]
)
async def test_an_answer_that_was_lost_is_given_again(
    place: Place, named: dict[str, Any], tries: int
) -> None:
    await place.work.hire()
    async with losing(place, tries) as (client, link):
        response = await client.responses.create(model="demo-fast-echo", input=SAID, **named)
        assert link.counts.cuts == tries
    [one] = await generations(place)
    assert one["id"] == generation_of(response.id)
    assert await place.committed(one["id"]) == SAID
    assert len(await place.work.requests()) == 1


async def test_a_stream_whose_head_was_lost_is_told_from_its_start(place: Place) -> None:
    await place.work.hire()
    async with losing(place, 2) as (client, link):
        stream = await client.responses.create(
            model="demo-echo-pace-100", input=SAID, background=True, stream=True
        )
        events = [event async for event in stream]
        assert link.counts.cuts == 2
    assert [one.sequence_number for one in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == SAID
    assert len(await generations(place)) == 1


async def test_a_deletion_whose_answer_was_lost_is_no_error(place: Place) -> None:
    async with losing(place, 1) as (client, link):
        link.traps.clear()
        created = await client.responses.create(model="demo-fast-echo", input=SAID, background=True)
        link.cut_before(ANSWER, Direction.DOWN)
        await client.responses.delete(created.id)
        assert link.counts.cuts == 1
        for gone in (created.id, f"resp_{'0' * 26}"):
            with pytest.raises(openai.NotFoundError):
                await client.responses.delete(gone)
        link.cut_before(b"HTTP/1.1 404", Direction.DOWN)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(f"resp_{'0' * 26}")
        assert link.counts.cuts == 2


async def test_of_many_requests_in_the_same_words_each_finds_one_of_its_own(place: Place) -> None:
    await place.work.hire()
    async with losing(place, 6) as (client, link):
        responses = await asyncio.gather(
            *(
                client.responses.create(model="demo-fast-echo", input="dice", background=True)
                for _ in range(6)
            )
        )
        assert link.counts.cuts == 6
    assert len({one.id for one in responses}) == 6
    assert len(await generations(place)) == 6


async def test_a_key_of_the_callers_own_keeps_requests_in_the_same_words_apart(
    place: Place,
) -> None:
    await place.work.hire()
    async with async_client_of(place.url) as other:
        await other.responses.create(model="demo-fast-echo", input="dice", background=True)
    async with losing(place, 1) as (client, link):
        link.refuse()
        trying = asyncio.create_task(
            client.responses.create(
                model="demo-fast-echo", input="dice", background=True,
                extra_headers={"Idempotency-Key": "mine"},
            )
        )  # fmt: skip
        await eventually(lambda: link.counts.refused == 1)
        link.traps.clear()
        link.heal()
        await trying
    assert len(await generations(place)) == 2


async def test_a_try_that_comes_while_the_first_is_still_being_stored_waits_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.work.hire()
    slow = asyncio.Event()

    async def slowly(*args: Any, **named: Any) -> Any:
        if args[1].tries.before == 0:
            # Its client has given it up by then.
            await slow.wait()
        try:
            return await intake.accept(*args, **named)
        finally:
            slow.set()

    monkeypatch.setattr(accepting, "accept", slowly)
    # On a busy machine the second one may be given up as well, and is found by the third.
    async with async_client_of(place.url, max_retries=4) as client:
        hasty = client.with_options(timeout=openai.Timeout(10, read=0.5))
        response = await hasty.responses.create(model="demo-fast-echo", input="hi", background=True)
    await asyncio.wait_for(slow.wait(), 10)
    await place.ended(generation_of(response.id))
    assert [one["id"] for one in await generations(place)] == [generation_of(response.id)]
