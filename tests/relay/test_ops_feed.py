"""An operator sees how the system stands, again and again; however many look, it is read once."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
from freezegun import freeze_time

from jobs.store.tokens import revoke_token
from jobs.store.workers import register_worker
from relay.figures import TICK_SECONDS
from relay.ops_feed import OpsFeed, SystemFigures
from tests.relay.edge import EdgeRelay
from tests.relay.raw_reader import RawAnswer, ask
from tests.services import eventually

FEED = "/v1/ops/feed"


def figures_of(chunk: bytes) -> SystemFigures:
    """What one event tells."""
    head, _, data = chunk.rpartition(b"data: ")
    assert head.endswith(b"event: figures\n")
    return msgspec.json.decode(data, type=SystemFigures)


def feed_of(relay: EdgeRelay, heartbeat: float = 10.0) -> OpsFeed:
    """One viewer of this relay."""
    services = relay.services
    return OpsFeed(services.figures, services.slots, services.sources.pulse, heartbeat)


async def told(answer: RawAnswer, events: int = 1) -> None:
    """Returns once so many readings came."""
    await eventually(lambda: b"".join(answer.chunks).count(b"event: figures") >= events, within=10)


async def test_only_an_admin_may_look(guarded: EdgeRelay) -> None:
    assert (await guarded.client.get(FEED)).status_code == 401
    answer = await guarded.client.get(FEED, headers=await guarded.bearer("generate"))
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    async with (
        guarded.live() as url,
        ask(f"{url}{FEED}", headers=await guarded.bearer("admin")) as answer_,
    ):
        answer_.start()
        assert answer_.status == 200
        await told(answer_)


async def test_a_reading_comes_at_once_and_tells_what_is_there(relay: EdgeRelay) -> None:
    await register_worker(relay.services.db, "wrk_1", 7)
    await relay.chat()
    feed = feed_of(relay)
    async with aclosing(feed.events()) as events:
        figures = figures_of(await anext(events))
    feed.close()
    assert figures.database
    assert figures.redis
    assert figures.generations is not None
    assert figures.generations.queued == 1
    assert figures.workers is not None
    assert [(one.id, one.alive, one.capacity) for one in figures.workers] == [("wrk_1", True, 7)]
    assert figures.queue_depth == 1
    assert figures.streams == {"events": 0, "feed": 0, "ops": 0}
    assert len(figures.rates.accepted) == 60


async def test_two_viewers_share_each_reading_and_get_one_a_tick(relay: EdgeRelay) -> None:
    pulse, reader = relay.services.sources.pulse, relay.services.figures
    first, second = feed_of(relay), feed_of(relay)

    async def both(one: AsyncIterator[bytes], other: AsyncIterator[bytes]) -> None:
        assert (await anext(one)).split(b'"generations"')[1] == (
            (await anext(other)).split(b'"generations"')[1]
        )

    with freeze_time("2026-11-25 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        # Frozen only now: their deadlines are counted from here.
        first._sent_at = second._sent_at = 0.0
        async with aclosing(first.events()) as one, aclosing(second.events()) as other:
            await both(one, other)
            for number in (2, 3):
                clock.tick(TICK_SECONDS)
                pulse.tick()
                await both(one, other)
                assert reader.readings == number
    first.close()
    second.close()
    assert pulse.streams == 0


async def test_a_shorter_heartbeat_makes_readings_come_sooner(relay: EdgeRelay) -> None:
    feed = feed_of(relay, heartbeat=0.1)
    async with aclosing(feed.events()) as events:
        for _ in range(3):
            await anext(events)
    feed.close()
    assert relay.services.figures.readings == 1


async def test_a_viewer_that_leaves_holds_nothing(relay: EdgeRelay) -> None:
    slots = relay.services.slots
    async with relay.live() as url, ask(f"{url}{FEED}") as answer:
        answer.start()
        await told(answer)
        assert slots.open_by_kind()["ops"] == 1
        answer.leave()
        await eventually(lambda: slots.open_by_kind()["ops"] == 0)
        await eventually(lambda: relay.services.sources.pulse.streams == 0)


async def test_a_viewer_whose_token_is_revoked_is_cut_off(guarded: EdgeRelay) -> None:
    bearer = await guarded.bearer("admin")
    async with guarded.live() as url, ask(f"{url}{FEED}", headers=bearer) as answer:
        answer.start()
        await told(answer)
        prefix = bearer["Authorization"].removeprefix("Bearer ")[:12]
        await revoke_token(guarded.services.db, prefix)
        guarded.services.slots.end_streams(prefix)
        assert answer.task is not None
        await answer.task
        assert not answer.finished
        assert (await guarded.client.get(FEED, headers=bearer)).status_code == 401


async def test_the_page_itself_holds_no_figures_and_keeps_to_its_own_origin(
    guarded: EdgeRelay,
) -> None:
    answer = await guarded.client.get("/ops")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "<script>" not in answer.text
    assert 'style="' not in answer.text
