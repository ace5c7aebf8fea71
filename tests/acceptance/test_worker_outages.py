"""Redis or the database go away at the worst moment: generations end once, and for all to see."""

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha1
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from jobs.generation import Generation, State
from jobs.journal import Journal, verify
from jobs.store.reads import read_replay_source
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.services import DelayingProxy, Direction, PostgresServer, RedisServer, eventually

StartRedis = Callable[..., RedisServer]


async def stands_once(work: Work, asked: Generation, text: str) -> None:
    """It completed in one attempt, with one call of the model and one turn."""
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert ended.usage is not None
    assert ended.usage.output_tokens == len(text.split())
    assert (await work.turns(asked))[1:] == [("assistant", text, False)]
    assert len(await work.requests()) == 1
    source = await read_replay_source(work.db, asked.id)
    assert source.text == text
    assert text_of(await work.rebuilt(asked)) == text


def tokens(count: int) -> str:
    """What demo-tokens-<count> says."""
    return " ".join(f"t{number}" for number in range(1, count + 1))


async def test_a_publish_that_fails_after_the_commit_repeats_nothing(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        trap = proxy.cut_before(b"event: completed", Direction.UP, times=3)
        async with at_work(redis_url, sqlite_url, tmp_path) as work:
            await work.hire(relay_redis_url=proxy.url(redis_url))
            asked = await work.ask("Hello", model="demo-fast-tokens-20")
            await trap.wait()
            await stands_once(work, asked, tokens(20))
            # Told all the same, once Redis listens again; a reader who comes back finds it before.
            events = await work.told(asked)
            assert names_of(events) == ["status", "token", "completed"]
            assert text_of(events) == tokens(20)
            assert trap.sprung == 3
            await stands_once(work, asked, tokens(20))


async def test_an_end_that_can_never_be_told_is_committed_all_the_same(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        trap = proxy.cut_before(b"event: completed", Direction.UP, times=1_000_000)
        async with at_work(redis_url, sqlite_url, tmp_path) as work:
            hired = await work.hire(relay_redis_url=proxy.url(redis_url))
            asked = await work.ask("Hello", model="demo-fast-tokens-20")
            await trap.wait()
            await stands_once(work, asked, tokens(20))
            await hired.dismiss(within=8)
            assert "completed" not in names_of(await work.log(asked))


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_redis_gone_in_mid_stream_costs_no_generation(
    start_redis: StartRedis, sqlite_url: str, tmp_path: Path, fault: str
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path) as work:
        await work.hire()
        asked = await work.ask("Hello", model="demo-tokens-40-40")
        await work.wrote(asked)
        getattr(redis, fault)()
        await stands_once(work, asked, tokens(40))
        if fault == "kill":
            redis.restart(keep_data=False)
        else:
            redis.thaw()
        # Its log is whole again, and the worker picks up new work.
        events = await work.told(asked, within=10)
        assert text_of(events) == tokens(40)
        assert [event.cursor.seq for event in events] == list(range(1, len(events) + 1))
        later = await work.store("Another")
        assert (await work.ended(later, within=15)).state is State.COMPLETED


async def test_cancelling_needs_no_redis(
    start_redis: StartRedis, sqlite_url: str, tmp_path: Path
) -> None:
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path) as work:
        await work.hire()
        asked = await work.ask("Hello", model="demo-fast-tokens-9-silent-after-3")
        await work.wrote(asked, len("t1 t2 t3"))
        redis.kill()
        await work.cancel(asked)
        assert work.signals.failures == 1

        async def is_closed() -> bool:
            return await work.upstreams() == 0

        await eventually(is_closed, within=2.0)
        ended = await work.ended(asked, within=2.0)
        assert ended.output is not None
        assert (ended.state, ended.output.text) == (State.CANCELLED, "t1 t2 t3")


async def test_a_pick_that_redis_broke_off_costs_the_worker_no_place(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with DelayingProxy.before(redis_url) as proxy:
        pick = sha1((files("jobs") / "pick.lua").read_bytes()).hexdigest().encode()
        trap = proxy.cut_before(pick, Direction.UP, times=3)
        async with at_work(redis_url, sqlite_url, tmp_path) as work:
            await work.hire(relay_redis_url=proxy.url(redis_url), relay_max_jobs=1)
            for number in range(3):
                asked = await work.ask(f"Hello {number}")
                assert (await work.ended(asked, within=10)).state is State.COMPLETED
            assert trap.sprung == 3


async def test_what_a_frozen_redis_marked_for_nobody_starts_at_once_when_it_thaws(
    start_redis: StartRedis, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.redis_pipeline.CALL_TIMEOUT_SECONDS", 0.5)
    redis = start_redis()
    async with at_work(redis.url, sqlite_url, tmp_path, relay_lease_seconds=5.0) as work:
        await work.hire()
        await work.ended(await work.ask("Hello"))
        redis.freeze()
        try:
            # Redis reads both once it thaws: the job, and the picks whose callers have given up.
            asked = await work.ask("Hello again")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await work.ended(asked)
        finally:
            redis.thaw()
        assert (await work.ended(asked, within=4)).attempt == 1


@pytest.fixture
async def postgres_proxy(postgres_url: str) -> AsyncIterator[DelayingProxy]:
    """A proxy before the database, so that it can go away for the worker alone."""
    async with DelayingProxy.before(postgres_url) as proxy:
        yield proxy


def go_away(proxy: DelayingProxy) -> None:
    """The database is gone for the worker."""
    proxy.refuse()
    proxy.abort()


def come_back(proxy: DelayingProxy) -> None:
    """And is there again."""
    proxy.refusing = False


async def journalled(work: Work, place: str = "") -> None:
    """The journal holds what the database did not take."""
    directory = Path(work.settings.relay_journal_dir) / place
    await eventually(lambda: verify(directory).stats["pending"] == 1, within=20)


async def test_what_the_database_can_not_take_is_journalled_and_committed_once_it_is_back(
    redis_url: str, postgres_url: str, postgres_proxy: DelayingProxy, tmp_path: Path
) -> None:
    proxied = postgres_proxy.url(postgres_url)
    async with at_work(redis_url, proxied, tmp_path, direct_database=postgres_url) as work:
        await work.hire()
        asked = await work.ask("Hello", model="demo-tokens-30-60")
        await work.wrote(asked)
        go_away(postgres_proxy)
        await journalled(work)
        # Tokens went on; the end waits.
        assert text_of(await work.log(asked)) == tokens(30)
        assert names_of(await work.log(asked)) == ["status", "token"]
        assert (await work.read(asked)).state is State.RUNNING
        come_back(postgres_proxy)
        await stands_once(work, asked, tokens(30))
        assert names_of(await work.told(asked)) == ["status", "token", "completed"]
        await eventually(
            lambda: verify(Path(work.settings.relay_journal_dir)).stats["pending"] == 0
        )
        assert postgres_proxy.counts.refused > 0


@pytest.mark.parametrize("where", ["cut_before", "cut_after"])
async def test_a_commit_whose_answer_was_lost_is_looked_up_and_not_repeated(
    redis_url: str,
    postgres_url: str,
    postgres_proxy: DelayingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    # No beat, so that the COMMIT that is cut is the generation's.
    monkeypatch.setattr("jobs.beat.LONGEST_BEAT_SECONDS", 30.0)
    proxied = postgres_proxy.url(postgres_url)
    async with at_work(redis_url, proxied, tmp_path, direct_database=postgres_url) as work:
        await work.hire(relay_lease_seconds=120.0)
        asked = await work.ask("Hello", model="demo-tokens-9-30")
        await work.wrote(asked)
        cut: Any = getattr(postgres_proxy, where)
        trap = cut(b"COMMIT", Direction.UP)
        await trap.wait()
        await stands_once(work, asked, tokens(9))
        assert names_of(await work.told(asked)) == ["status", "token", "completed"]


async def test_a_worker_starts_before_redis_and_the_database_and_waits(
    start_redis: StartRedis,
    start_postgres: Callable[..., PostgresServer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    redis, postgres = start_redis(), start_postgres()
    url = postgres.url(postgres.create_database())
    async with at_work(redis.url, url, tmp_path) as work:
        # A fresh database without the schema, and no Redis; then neither.
        empty = postgres.url(postgres.create_database())
        unready = await work.hire(relay_database_url=empty)
        redis.kill()
        postgres.stop()
        hired = await work.hire()
        await eventually(lambda: caplog.text.count("the database is not ready: waiting") == 2)
        assert not hired.task.done()
        redis.restart(keep_data=False)
        postgres.start()
        asked = await work.ask("Hello")
        assert (await work.ended(asked, within=20)).state is State.COMPLETED
        await unready.dismiss(within=5)
        # One line when it begins to wait and one when it is over, however long it took.
        assert caplog.text.count("the database is not ready: waiting") == 2
        assert caplog.text.count("the database is not ready: going on") == 1


async def test_workers_of_one_machine_have_a_journal_each(
    redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        directory = Path(work.settings.relay_journal_dir)
        first, second = await work.hire(), await work.hire()

        async def are_known() -> bool:
            return await work.sql("SELECT count(*) FROM workers") == [(2,)]

        await eventually(are_known)
        assert (directory / "2" / "journal.lock").exists()
        assert not (directory / "3").exists()
        await first.dismiss()
        third = await work.hire()
        await eventually(are_known)
        assert not (directory / "3").exists()
        await second.dismiss()
        await third.dismiss()
        with Journal.open(directory), Journal.open(directory / "2"):
            pass
