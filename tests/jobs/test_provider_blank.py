"""A request is at hand before it is known what it asks, and is whoever sends it's alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest

from jobs.provider_blank import Blanks, body_of_blank
from tests.jobs.provider_runs import ASK, ask, opened
from tests.jobs.raw_model import ANSWER, refusal
from tests.services import eventually

whose: ContextVar[str] = ContextVar("whose", default="nobody")


@dataclass(slots=True)
class Made:
    """An answer: in whose name it was asked for, and whether it is closed."""

    name: str
    closed: bool = False

    async def close(self) -> None:
        """Closes it."""
        self.closed = True


@dataclass(slots=True)
class Sent:
    """Requests of a test: those begun, and the bodies of those that were sent."""

    begun: int = 0
    ended: int = 0
    bodies: list[bytes | None] = field(default_factory=list)
    fails: bool = False
    stalls: bool = False
    until: asyncio.Future[None] | None = None
    answer: Made | None = None

    async def post(self) -> Made:
        """One request, whose answer says in whose name it was made."""
        self.begun += 1
        try:
            if self.fails:
                raise ValueError("no such request")
            self.bodies.append(await body_of_blank())
            if self.stalls:
                await asyncio.Event().wait()
            if self.until is not None:
                await self.until
            self.answer = Made(whose.get())
            return self.answer
        finally:
            self.ended += 1


@asynccontextmanager
async def blanks(sent: Sent) -> AsyncIterator[Blanks[Made]]:
    """Blanks of these requests, until the block ends."""
    made = Blanks(sent.post)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.provider_blank.REFILL_SECONDS", 0.0)


async def test_one_is_at_hand_from_the_start_and_again_after_it_was_sent() -> None:
    sent = Sent()
    async with blanks(sent) as made:
        await eventually(lambda: sent.begun == 1)
        assert sent.bodies == []
        await made.send(b"first")
        assert (sent.begun, sent.bodies) == (1, [b"first"])
        await eventually(lambda: sent.begun == 2)
        await made.send(b"second")
        assert sent.bodies == [b"first", b"second"]


async def test_several_at_once_are_made_as_they_are_wanted_and_one_is_left() -> None:
    sent = Sent()
    async with blanks(sent) as made:
        await asyncio.gather(*(made.send(b"%d" % number) for number in range(5)))
        assert sorted(one or b"" for one in sent.bodies) == [b"0", b"1", b"2", b"3", b"4"]
        await eventually(lambda: sent.begun == 6)
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert sent.begun == 6
    await eventually(lambda: sent.ended == 6)


async def test_it_is_made_in_nobodys_name() -> None:
    sent = Sent()
    async with blanks(sent) as made:
        whose.set("ann")
        assert (await made.send(b"first")).name == "nobody"
        await eventually(lambda: sent.begun == 2)
        assert (await made.send(b"second")).name == "nobody"


async def test_one_that_broke_by_itself_is_not_sent() -> None:
    sent = Sent(fails=True)
    async with blanks(sent) as made:
        await eventually(lambda: sent.ended == 1)
        sent.fails = False
        await made.send(b"body")
        assert sent.bodies == [b"body"]


async def test_a_cancelled_sender_cancels_its_request() -> None:
    sent = Sent(stalls=True)
    async with blanks(sent) as made:
        sending = asyncio.create_task(made.send(b"body"))
        await eventually(lambda: sent.bodies == [b"body"])
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        assert sent.ended == 1


async def test_an_answer_that_comes_as_its_sender_is_cancelled_is_closed() -> None:
    sent = Sent()
    async with blanks(sent) as made:
        sent.until = asyncio.get_running_loop().create_future()
        sending = asyncio.create_task(made.send(b"body"))
        await eventually(lambda: sent.bodies == [b"body"])
        sent.until.set_result(None)
        # After the request's turn, in which it ends, and before the sender's.
        asyncio.get_running_loop().call_soon(sending.cancel)
        await asyncio.wait([sending])
        assert sending.cancelled()
        assert sent.answer is not None
        assert sent.answer.closed


async def test_the_one_at_hand_ends_with_the_provider() -> None:
    sent = Sent()
    async with blanks(sent):
        await eventually(lambda: sent.begun == 1)
    await eventually(lambda: sent.ended == 1)
    assert sent.bodies == []


async def test_a_redirected_request_takes_its_body_along() -> None:
    async with opened() as (model, provider):
        model.scripts = (refusal(307, Location=f"{model.url}/elsewhere"), ANSWER)
        await ask(provider)
    first, second = model.requests
    assert first == second
    assert first["messages"] == ASK.messages
    assert b"POST /v1/elsewhere " in model.headers[1]


async def test_a_body_is_as_long_as_its_head_says() -> None:
    async with opened(ANSWER) as (model, provider):
        for _ in range(3):
            await ask(provider)
    for head in model.headers:
        assert head.lower().count(b"content-length:") == 1
        assert b"content-type: application/json" in head.lower()
