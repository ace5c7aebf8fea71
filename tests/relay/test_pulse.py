"""One tick and one statement keep the time of any number of streams."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from freezegun import freeze_time
from sqlalchemy import Engine, event

from jobs.cancelling import end_tasks
from jobs.database import Database
from jobs.errors import Unavailable
from jobs.generation import State
from jobs.store.standings import AT_WORK, Standing
from relay import pulse as pulse_module
from relay.pulse import SLOT_SECONDS, Beating, Pulse, open_pulse
from tests.relay.stage import Author, authoring
from tests.services import eventually


@dataclass(eq=False, slots=True)
class Stream:
    """A stream that wants its row at every tick while `due`."""

    generation_id: str
    due: bool = True
    ticks: list[float] = field(default_factory=list)
    rows: list[Standing | None] = field(default_factory=list)

    def due_at(self) -> float:
        return 0.0

    def tick(self, now: float) -> Beating | None:
        self.ticks.append(now)
        return self if self.due else None

    def heartbeat(self, found: Standing | None) -> None:
        self.rows.append(found)
        self.due = False


@pytest.fixture
async def author(migrated_url: str, redis_url: str) -> AsyncIterator[Author]:
    """Who writes."""
    async with authoring(migrated_url, redis_url) as author:
        yield author


async def test_one_statement_tells_the_rows_of_any_number_of_streams(author: Author) -> None:
    pulse = Pulse(author.database, 10)
    ids = [(await author.queued()).id for _ in range(20)]
    streams = [Stream(one) for one in ids for _ in range(30)]
    silent = Stream(ids[0], due=False)
    for stream in (*streams, silent):
        pulse.add(stream)
    statements: list[str] = []

    def count(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", count)
    pulse.tick()
    await eventually(lambda: all(stream.rows for stream in streams))
    event.remove(Engine, "before_cursor_execute", count)
    assert len(statements) == 1
    for stream in streams:
        assert stream.rows == [Standing(State.QUEUED, 0, "none")]
    assert silent.rows == []


async def test_a_database_that_is_away_delays_no_heartbeat_for_ever(
    author: Author, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise Unavailable("the database")

    monkeypatch.setattr(pulse_module, "read_unusual", fails)
    pulse = Pulse(author.database, 10)
    stream = Stream("gen_1")
    pulse.add(stream)
    pulse.tick()
    await eventually(lambda: stream.rows == [None])
    assert "without the row" in caplog.text


async def test_while_one_statement_is_under_way_no_second_is_begun(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = asyncio.Event()
    asked: list[set[str]] = []

    async def slow(_: Database, ids: set[str], **__: object) -> dict[str, Standing | None]:
        asked.append(ids)
        await answer.wait()
        return {}

    monkeypatch.setattr(pulse_module, "read_unusual", slow)
    pulse = Pulse(author.database, 10)
    stream, late = Stream("gen_1"), Stream("gen_2")
    pulse.add(stream)
    pulse.tick()
    await eventually(lambda: len(asked) == 1)
    pulse.add(late)
    pulse.tick()
    pulse.tick()
    answer.set()
    await eventually(lambda: stream.rows == [AT_WORK])
    pulse.tick()
    await eventually(lambda: late.rows == [AT_WORK])
    assert asked == [{"gen_1"}, {"gen_2"}]


async def test_a_stream_that_left_is_not_looked_at_again(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "TICK_SECONDS", 0.001)
    async with open_pulse(author.database, 10) as pulse:
        staying, leaving = Stream("gen_1", due=False), Stream("gen_2", due=False)
        pulse.add(staying)
        pulse.add(leaving)
        await eventually(lambda: len(leaving.ticks) > 2)
        pulse.discard(leaving)
        pulse.discard(leaving)
        seen = len(leaving.ticks)
        before = len(staying.ticks)
        await eventually(lambda: len(staying.ticks) > before + 3)
        assert len(leaving.ticks) == seen
        assert pulse.streams == 1


async def test_stopping_in_mid_statement_leaves_no_task_behind(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "TICK_SECONDS", 0.001)
    began = asyncio.Event()

    async def endless(*_: object, **__: object) -> dict[str, Standing | None]:
        began.set()
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(pulse_module, "read_unusual", endless)
    async with open_pulse(author.database, 10) as pulse:
        pulse.add(Stream("gen_1"))
        await began.wait()
    assert not {task.get_name() for task in asyncio.all_tasks()} & {"heartbeats", "pulse"}


async def test_a_pulse_that_stops_says_so(
    author: Author, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse_module, "TICK_SECONDS", 0.001)

    class Broken(Stream):
        def tick(self, now: float) -> None:
            raise RuntimeError("a bug")

    async def beat() -> None:
        async with open_pulse(author.database, 10) as pulse:
            pulse.add(Broken("gen_1"))
            await eventually(lambda: "the pulse stopped" in caplog.text)

    with pytest.raises(RuntimeError, match="a bug"):
        await beat()
    assert caplog.records[-1].levelno == logging.CRITICAL


async def test_a_tick_looks_at_those_that_are_due_however_many_are_open(author: Author) -> None:
    @dataclass(eq=False, slots=True)
    class Later(Stream):
        seconds: float = 3600.0

        def due_at(self) -> float:
            return time.monotonic() + self.seconds

    pulse = Pulse(author.database, 10)
    due, later = Stream("gen_1", due=False), [Later("gen_1", due=False) for _ in range(1000)]
    for stream in (due, *later):
        pulse.add(stream)
    for number in range(1, 4):
        pulse.tick()
        assert len(due.ticks) == number
    assert not any(stream.ticks for stream in later)
    later[0].seconds = 0.0
    pulse.moved(later[0])
    pulse.discard(later[1])
    later[1].seconds = 0.0
    pulse.moved(later[1])
    pulse.tick()
    assert [len(stream.ticks) for stream in later[:3]] == [1, 0, 0]
    assert pulse.streams == 1000


@dataclass(eq=False, slots=True)
class Silent(Stream):
    """A stream whose heartbeat is due once an hour."""

    beat_at: float = 0.0

    def due_at(self) -> float:
        return self.beat_at

    def heartbeat(self, found: Standing | None) -> None:
        self.rows.append(found)
        self.beat_at = time.monotonic() + 3600


async def test_a_stream_is_looked_at_once_a_heartbeat(author: Author) -> None:
    pulse = Pulse(author.database, 10)
    streams = [Silent((await author.queued()).id) for _ in range(3)]
    for stream in streams:
        pulse.add(stream)
    for _ in range(3):
        pulse.tick()
        await eventually(lambda: all(stream.rows for stream in streams))
    assert [len(stream.ticks) for stream in streams] == [1, 1, 1]


async def test_while_a_statement_takes_long_other_deadlines_are_late_by_a_second_at_most(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(*_: object, **__: object) -> dict[str, Standing | None]:
        return await asyncio.Future[dict[str, Standing | None]]()

    monkeypatch.setattr(pulse_module, "read_unusual", endless)
    pulse = Pulse(author.database, 10)
    stream = Silent("gen_1")
    pulse.add(stream)
    with freeze_time("2026-11-22 10:00:00", real_asyncio=True, ignore=["_pytest"]) as clock:
        for seconds in (0, 0.5, 1):
            clock.tick(seconds)
            pulse.tick()
    assert len(stream.ticks) == 2
    reading = pulse._reading
    assert reading is not None
    await end_tasks([reading])


async def test_at_rest_it_wakes_no_sooner_than_the_first_deadline_unless_one_comes_before(
    author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[float] = []
    tick = Pulse.tick

    def counting(pulse: Pulse) -> None:
        ticks.append(time.monotonic())
        tick(pulse)

    monkeypatch.setattr(Pulse, "tick", counting)
    monkeypatch.setattr(pulse_module, "REST_SECONDS", 60.0)
    monkeypatch.setattr(pulse_module, "TICK_SECONDS", 0.01)
    async with open_pulse(author.database, 10) as pulse:
        late = Silent("gen_1", beat_at=time.monotonic() + 30)
        pulse.add(late)
        began = time.monotonic()
        soon = Silent("gen_2", beat_at=began + 0.5)
        pulse.add(soon)
        await eventually(lambda: bool(soon.rows))
        assert time.monotonic() - began >= 0.5 - SLOT_SECONDS
        # One since a deadline came before, then within the slot of time that it lies in.
        assert len([at for at in ticks if at - began < 0.5 - SLOT_SECONDS]) <= 1
        assert late.ticks == []
        before = len(ticks)
        late.beat_at = 0.0
        pulse.moved(late)
        await eventually(lambda: bool(late.rows))
        assert len(ticks) > before
