"""A streamed generation starts while its row is on its way to the disk, and again if need be."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from sqlalchemy import text

from jobs import keys
from jobs.generation import Kind
from jobs.ids import new_id
from jobs.queue import Queue
from jobs.sqlite_lock import BUSY_SECONDS
from jobs.store.intake import Accepted, NewGeneration, accept
from jobs.store.reads import read_generation
from relay.accepting import budget_of
from relay.follow import Follower
from relay.routes import starting
from relay.services import Services
from relay.start_ahead import StartAhead
from tests.relay.edge import EdgeRelay
from tests.relay.live import CHAT, Live, relay_settings, served
from tests.relay.raw_reader import RawAnswer, ask
from tests.relay.stage import Author, authoring
from tests.services import eventually
from tests.services.held_commit import before_commits, held_commits, is_admission, refuse


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes, as the owner of a relay without authorization."""
    async with authoring(migrated_url, redis_url, owner="local") as author:
        yield author


@pytest.fixture
async def live(migrated_url: str, redis_url: str, author: Author) -> AsyncIterator[Live]:
    """A live relay."""
    async with served(relay_settings(migrated_url, redis_url), author) as live:
        yield live


async def store(live: Live, words: str, **fields: object) -> Accepted:
    """What was just stored, and is not started."""
    new = NewGeneration(owner="local", kind=Kind.CHAT, input=words, model="none", **fields)  # type: ignore[arg-type]
    return await accept(
        live.services.db,
        new,
        generation_id=new_id("gen"),
        budget=budget_of(live.services.settings.jobs),
        expires_seconds=60,
    )


async def stored(live: Live) -> set[str]:
    """The generations that anybody sees."""
    return {row.id for row in await live.services.db.fetch(text("SELECT id FROM generations"))}


@contextmanager
def enqueued(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The generations that were put in the queue, each as Redis took it."""
    ids: list[str] = []
    enqueue = Queue.enqueue

    async def noting(queue: Queue, generation_id: str, attempt: int) -> bool:
        taken = await enqueue(queue, generation_id, attempt)
        ids.append(generation_id)
        return taken

    with patch.context() as patched:
        patched.setattr(Queue, "enqueue", noting)
        yield ids


async def post(live: Live, answers: list[RawAnswer]) -> None:
    """Asks for a streamed generation; `answers` gets the head of what comes."""
    url = f"{live.url}/v1/generations?stream=true"
    async with ask(url, method="POST", body=CHAT) as answer:
        answers.append(answer)


async def test_it_is_enqueued_while_its_row_goes_to_the_disk(
    live: Live, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[RawAnswer] = []
    before = await live.services.queue.depth()
    with enqueued(monkeypatch) as ids, held_commits(monkeypatch, is_admission) as held:
        posting = asyncio.create_task(post(live, answers))
        await eventually(lambda: len(ids) == 1)
        assert held.reached.is_set()
        [one] = ids
        assert await live.services.queue.depth() == before + 1
        # Its reader was subscribed first, and is told nothing yet.
        assert await author.redis.pubsub_numsub(keys.live(one)) == [(keys.live(one).encode(), 1)]
        assert answers == []
        assert one not in await stored(live)
        held.let_go()
        await posting
        assert ids == [one]
    assert answers[0].status == 200
    assert answers[0].headers["location"].endswith(one)
    assert one in await stored(live)


async def test_what_is_stored_at_the_second_try_is_enqueued_again(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, failed = threading.Event(), list[str]()

    def fail_once() -> None:
        if not failed:
            assert begun.wait(5)
            failed.append("here")
            refuse()

    answers: list[RawAnswer] = []
    with enqueued(monkeypatch) as ids, before_commits(monkeypatch, fail_once, is_admission):
        posting = asyncio.create_task(post(live, answers))
        await eventually(lambda: len(ids) == 1)
        # As a worker does that found nothing to claim.
        await live.author.redis.zrem(keys.QUEUE, f"{ids[0]}:0")
        begun.set()
        await posting
        assert failed
        assert ids == [ids[0]] * 2
    assert answers[0].status == 200
    assert await live.author.redis.zscore(keys.QUEUE, f"{ids[0]}:0") is not None
    assert ids[0] in await stored(live)


async def test_what_is_not_stored_leaves_but_a_job_for_nothing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.intake._PAUSES_SECONDS", ())
    answers: list[RawAnswer] = []
    before = await stored(live)
    with enqueued(monkeypatch) as ids:
        begun = threading.Event()

        def fail() -> None:
            assert begun.wait(5)
            refuse()

        with before_commits(monkeypatch, fail, is_admission):
            posting = asyncio.create_task(post(live, answers))
            await eventually(lambda: len(ids) == 1)
            begun.set()
            await posting
    assert answers[0].status == 503
    assert await stored(live) == before
    assert live.services.slots.open_streams("local") == 0
    assert live.services.sources.hub.channels == 0


async def test_what_is_begun_for_nothing_is_ended_with_the_request(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ended = threading.Event(), asyncio.Event()

    async def hangs(*_: object) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def fail() -> None:
        assert asked.wait(5)
        refuse()

    monkeypatch.setattr("jobs.store.intake._PAUSES_SECONDS", ())
    monkeypatch.setattr(Queue, "enqueue", hangs)
    answers: list[RawAnswer] = []
    with before_commits(monkeypatch, fail, is_admission):
        await post(live, answers)
    assert answers[0].status == 503
    assert ended.is_set()


async def test_what_was_begun_and_turns_out_to_be_a_replay_is_ended_before_that_is_shown(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await live.author.running()
    await live.author.end(log)
    ended = await read_generation(live.services.db, "local", log.generation_id)
    asked, gone = asyncio.Event(), asyncio.Event()

    async def hangs(*_: object) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    async def replays(
        services: Services, new: NewGeneration, generation_id: str, ahead: Callable[..., None]
    ) -> Accepted:
        # The first try was told and failed; then another request with the same key was first.
        ahead(Accepted(msgspec.structs.replace(ended, id=generation_id), False, True, (), "local"))
        await asked.wait()
        return Accepted(ended, True, False, (), "local")

    monkeypatch.setattr(Queue, "enqueue", hangs)
    monkeypatch.setattr(starting, "accept_generation", replays)
    async with ask(f"{live.url}/v1/generations?stream=true", method="POST", body=CHAT) as answer:
        assert gone.is_set()
        events = await answer.finish()
    assert (answer.status, answer.headers["idempotent-replay"]) == (200, "true")
    assert events[-1].event == "completed"
    assert live.services.sources.hub.channels == 0


@pytest.mark.parametrize(("took", "times"), [(BUSY_SECONDS - 1, 1), (BUSY_SECONDS, 2)])
async def test_what_took_longer_to_be_stored_than_a_claim_waits_is_enqueued_again(
    live: Live, monkeypatch: pytest.MonkeyPatch, took: float, times: int
) -> None:
    accepted = await store(live, "slow")
    follower = Follower(live.services.sources, accepted.generation.id)
    ahead = StartAhead(live.services, follower)
    with enqueued(monkeypatch) as ids:
        ahead.begin(accepted)
        ahead._told_at -= took
        await ahead.finish(accepted)
        assert ids == [accepted.generation.id] * times
    follower.close()


@pytest.mark.parametrize("there_is_more", ["it interrupts", "it waits in line"])
async def test_where_there_is_more_to_do_nothing_is_begun_before_it_is_stored(
    live: Live, monkeypatch: pytest.MonkeyPatch, there_is_more: str
) -> None:
    interrupts = there_is_more == "it interrupts"
    first = await store(live, "before")
    later = await store(
        live,
        "after",
        conversation_id=first.generation.conversation_id,
        on_active="interrupt" if interrupts else "queue",
    )
    assert (bool(later.interrupted), later.starts) == (interrupts, interrupts)
    follower = Follower(live.services.sources, later.generation.id)
    ahead = StartAhead(live.services, follower)
    with enqueued(monkeypatch) as ids:
        ahead.begin(later)
        await asyncio.sleep(0.05)
        assert (ids, live.services.sources.hub.channels) == ([], 0)
        await ahead.finish(later)
        assert live.services.sources.hub.channels == 1
        assert ids == ([later.generation.id] if interrupts else [])
    follower.close()


async def test_what_was_begun_and_is_let_go_keeps_no_subscription(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def hangs(*_: object) -> bool:
        asked.set()
        return await never.wait()

    monkeypatch.setattr(Queue, "enqueue", hangs)
    accepted = await store(live, "begun")
    follower = Follower(live.services.sources, accepted.generation.id)
    ahead = StartAhead(live.services, follower)
    ahead.begin(accepted)
    async with asyncio.timeout(5):
        await asked.wait()
    assert live.services.sources.hub.channels == 1
    await ahead.let_go()
    assert live.services.sources.hub.channels == 0
    # Again does nothing, nor does what is told too late.
    await ahead.let_go()
    late = StartAhead(live.services, follower)
    await late.let_go()
    late.begin(accepted)
    assert late._starting is None


async def test_a_reader_that_leaves_while_it_is_stored_leaves_nothing_open(
    relay: EdgeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with enqueued(monkeypatch) as ids, held_commits(monkeypatch, is_admission) as held:
        posting = asyncio.create_task(
            relay.post("/v1/generations?stream=true", {"kind": "chat", "input": "hello"})
        )
        await eventually(lambda: len(ids) == 1)
        posting.cancel()
        held.let_go()
        with pytest.raises(asyncio.CancelledError):
            await posting
    assert relay.services.sources.hub.channels == 0
    assert relay.services.slots.open_streams("local") == 0
    made = (await relay.client.get(f"/v1/generations/{ids[0]}")).json()
    assert made["state"] == "queued"
