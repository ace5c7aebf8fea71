"""A log line says whose it is, and no other's."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from structlog.contextvars import bound_contextvars

from jobs.generation import Generation
from jobs.logs import line_formatter
from jobs.publisher import Publisher
from tests.jobs.at_work import Work, at_work
from tests.jobs.log_rig import NAME, started
from tests.jobs.scripted_log import Scripted, over
from tests.services import eventually

Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All lines so far, as programs read them."""
    kept: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(self.format(record))

    handler = Keeping()
    handler.setFormatter(line_formatter("json"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in kept]
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, without a worker yet."""
    async with at_work(redis_url, sqlite_url, tmp_path) as work:
        yield work


async def test_lines_of_an_attempt_bear_its_ids_and_only_they_do(work: Work, lines: Lines) -> None:
    await work.hire()
    asked = [await work.ask(f"Hello {number}") for number in range(5)]
    for one in asked:
        await work.ended(one)
    await eventually(lambda: len(_ends(lines)) == 5)
    assert {line["generation"] for line in _ends(lines)} == {one.id for one in asked}
    assert {line["attempt"] for line in _ends(lines)} == {1}
    assert {line["outcome"] for line in _ends(lines)} == {"completed"}
    [ready] = [line for line in lines() if line["event"] == "worker is ready"]
    assert not {"generation", "attempt", "request_id"} & ready.keys()


def _ends(lines: Lines) -> list[dict[str, object]]:
    return [line for line in lines() if line["event"] == "generation ended"]


async def test_a_flush_bears_no_ids_of_the_attempt_that_it_began_in(lines: Lines) -> None:
    failing = Scripted(ConnectionError("away"))
    publisher = over(failing)

    async def write(publisher: Publisher) -> None:
        with bound_contextvars(generation=NAME, attempt=1):
            log = started(publisher, NAME)
            log.append_text("a")
            await failing.called(3)

    await asyncio.create_task(write(publisher))
    publisher.stop()
    # Once, however often it was tried.
    [failure] = [line for line in lines() if "publishing" in str(line["event"])]
    assert failure["event"] == "publishing to Redis: waiting"
    assert not {"generation", "attempt"} & failure.keys()


async def test_what_an_attempt_could_not_store_is_said_with_its_ids(
    work: Work, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> Generation:
        raise ZeroDivisionError

    monkeypatch.setattr("jobs.generate.converse", broken)
    await work.hire()
    asked = await work.ask("Hello")
    await work.ended(asked)
    [line] = [line for line in lines() if line["event"] == "an attempt failed unexpectedly"]
    assert (line["generation"], line["attempt"], line["level"]) == (asked.id, 1, "error")
    assert "ZeroDivisionError" in str(line["exception"])
