"""Workers as real processes: killed, frozen, stopped; what they ran goes on or ends, in time."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.generation import Generation, State
from jobs.journal import verify
from tests.jobs.at_work import Work, at_work, names_of, text_of
from tests.jobs.worker_process import start_worker
from tests.services import Child, DelayingProxy, eventually

SILENT = "demo-fast-tokens-9-silent-after-3"
LEASE = 1.0
# A reader of a lost worker hears of it within lease + 5 s (protocol §8).
HEARD_WITHIN = LEASE + 5


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work with a short lease, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path, relay_lease_seconds=LEASE) as work:
        yield work


async def begun(work: Work, worker: Child, model: str = SILENT) -> Generation:
    """A generation of which this worker has written the first three tokens."""
    await eventually(lambda: "worker is ready" in worker.text(), within=20)
    asked = await work.ask("Hello", model=model)
    await work.wrote(asked, len("t1 t2 t3"))
    return asked


async def of_attempt(work: Work, asked: Generation, attempt: int) -> bool:
    """The log is that of this attempt."""
    return (await work.stream_log.tail(asked.id))[0] == attempt


async def test_a_killed_workers_generation_begins_anew_elsewhere(
    work: Work, tmp_path: Path
) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first)
        await work.hire()
        first.kill()
        await eventually(lambda: of_attempt(work, asked, 2), within=HEARD_WITHIN)
        await work.wrote(asked, len("t1 t2 t3"))
        events = await work.log(asked)
        assert [event.name for event in events[:2]] == ["reset", "status"]
        assert events[0].data == {"reason": "worker_lost", "attempt": 2}
        assert text_of(events) == "t1 t2 t3"
        await work.cancel(asked)
        ended = await work.ended(asked)
        assert (ended.state, ended.attempt) == (State.CANCELLED, 2)


async def test_the_last_attempts_text_is_kept_in_one_token_by_a_relay_alone(
    work: Work, tmp_path: Path
) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first)
        async with work.relay_alone(relay_max_attempts=1) as rescuer:
            first.kill()
            ended = await work.ended(asked, within=HEARD_WITHIN)
        assert rescuer.counts.ended_lost == 1
    events = await work.told(asked)
    assert (ended.state, ended.attempt) == (State.FAILED, 2)
    assert ended.error is not None
    assert ended.error.code == "worker_lost"
    assert ended.output is not None
    assert ended.output.text == "t1 t2 t3"
    assert [event.name for event in events] == ["reset", "status", "token", "failed"]
    assert text_of(events) == "t1 t2 t3"
    assert str(events[-1].cursor) == "2.4.8"
    assert (await work.turns(asked))[-1] == ("assistant", "t1 t2 t3", True)


async def test_lost_as_often_as_is_allowed_it_ends_and_is_not_run_again(
    work: Work, tmp_path: Path
) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first)
        with start_worker(work.settings, tmp_path / "second.log") as second:
            await eventually(lambda: "worker is ready" in second.text(), within=20)
            first.kill()
            await eventually(lambda: of_attempt(work, asked, 2), within=HEARD_WITHIN)
            await work.wrote(asked, len("t1 t2 t3"))
            await work.hire()
            second.kill()
            ended = await work.ended(asked, within=HEARD_WITHIN)
    assert (ended.state, ended.attempt) == (State.FAILED, 3)
    assert ended.error is not None
    assert ended.error.code == "worker_lost"
    assert len(await work.requests()) == 2


async def test_a_frozen_worker_that_comes_back_writes_and_commits_nothing(
    work: Work, tmp_path: Path
) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first, model="demo-tokens-60-30")
        first.freeze()
        await work.hire()
        await eventually(lambda: of_attempt(work, asked, 2), within=HEARD_WITHIN)
        first.thaw()
        ended = await work.ended(asked)
        events = await work.told(asked)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 2)
        assert ended.output is not None
        assert ended.output.text == text_of(events) == " ".join(f"t{n}" for n in range(1, 61))
        assert [event.cursor.seq for event in events] == list(range(1, len(events) + 1))
        assert len((await work.turns(asked))[1:]) == 1
        assert first.exit_code is None


async def test_sigterm_ends_an_idle_worker_at_once_and_in_order(work: Work, tmp_path: Path) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        await eventually(lambda: "worker is ready" in first.text(), within=20)
        started = time.monotonic()
        first.signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 5) == 0
        assert time.monotonic() - started < 3
        assert await work.sql("SELECT id FROM workers") == []
        assert "Traceback" not in first.text()


async def test_sigterm_lets_a_generation_end_that_ends_in_time(work: Work, tmp_path: Path) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first, model="demo-tokens-30-30")
        first.signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 10) == 0
        ended = await work.read(asked)
        assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
        assert names_of(await work.log(asked)) == ["status", "token", "completed"]


async def test_a_second_signal_ends_the_grace(work: Work, tmp_path: Path) -> None:
    with start_worker(work.settings, tmp_path / "first.log") as first:
        asked = await begun(work, first)
        first.signal(signal.SIGTERM)
        await eventually(lambda: "event=stopping" in first.text())
        first.signal(signal.SIGINT)
        assert await asyncio.to_thread(first.wait, 10) == 0
    rows = await work.sql("SELECT state, attempt, handed_over FROM generations")
    assert [tuple(row) for row in rows] == [("running", 1, 1)]
    await work.hire()
    await eventually(lambda: of_attempt(work, asked, 2))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("relay_redis_url", "amqp://127.0.0.1"),
        ("relay_database_url", "mysql://127.0.0.1/x"),
        ("relay_max_jobs", "none"),
        ("openai_base_url", "ftp://127.0.0.1"),
    ],
)
async def test_a_wrong_value_ends_the_process_with_one_line(
    work: Work, tmp_path: Path, variable: str, value: str
) -> None:
    with start_worker(work.settings, tmp_path / "worker.log", **{variable: value}) as worker:
        assert await asyncio.to_thread(worker.wait, 20) == 1
        assert worker.text().startswith(f"persona-relay worker: {variable.upper()}: ")
        assert worker.text().count("\n") == 1


async def test_what_a_killed_worker_had_journalled_is_committed_by_the_next_one(
    redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    async with DelayingProxy.before(postgres_url) as proxy:
        proxied = proxy.url(postgres_url)
        async with at_work(redis_url, proxied, tmp_path, direct_database=postgres_url) as work:
            # The first one's journal is the second in the directory, and nobody takes it over.
            with start_worker(work.settings, tmp_path / "other.log") as other:
                await eventually(lambda: "worker is ready" in other.text(), within=20)
                with start_worker(work.settings, tmp_path / "first.log") as first:
                    await eventually(lambda: "worker is ready" in first.text(), within=20)
                    await asyncio.to_thread(other.terminate)
                    asked = await begun(work, first, model="demo-tokens-30-60")
                    proxy.refuse()
                    proxy.abort()
                    place = Path(work.settings.relay_journal_dir) / "2"
                    await eventually(lambda: verify(place).stats["pending"] == 1, within=20)
                    first.kill()
            assert (await work.read(asked)).state is State.RUNNING
            proxy.refusing = False
            await work.hire()
            ended = await work.ended(asked)
            assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
            assert ended.output is not None
            assert ended.output.text == " ".join(f"t{n}" for n in range(1, 31))
            assert ended.usage is not None
            await eventually(lambda: verify(place).stats["pending"] == 0)
            [line, mark] = (place / "journal.jsonl").read_text().splitlines()
            assert json.loads(line)["generation_id"] == asked.id
            assert json.loads(mark)["outcome"] == "replayed"
            assert len(await work.requests()) == 1


async def test_what_is_there_at_the_start_is_left_out_of_every_later_collection(
    work: Work, tmp_path: Path
) -> None:
    """A full collection of all that was imported holds up every generation of the worker."""
    told = tmp_path / "walked"
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, gc\n"
        f"atexit.register(lambda: open({str(told)!r}, 'w').write("
        "f'{gc.get_freeze_count()} {len(gc.get_objects())}'))\n"
    )
    with start_worker(work.settings, tmp_path / "log", PYTHONPATH=str(tmp_path)) as worker:
        await eventually(lambda: "worker is ready" in worker.text(), within=20)
        worker.signal(signal.SIGTERM)
        await eventually(told.exists, within=20)
        await eventually(lambda: worker.exit_code is not None, within=20)
    frozen, walked = map(int, told.read_text().split())
    assert frozen > 10 * walked > 0
