"""A thousand generations that start within a second, on one relay and one worker."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.benchmarks.system import chat, reading, system
from tests.benchmarks.upstream import TOKEN
from tests.services import eventually

STARTS = 1000
TOKENS = 20


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a socket a reader, until the test is over."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.timeout(150)
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_generations_that_start_at_once_all_finish_and_none_twice() -> None:
    with system() as running:
        async with reading(running, [chat(f"steady-{TOKENS}-10")] * STARTS) as readers:
            # The model takes two seconds for each: all are asked for before any is over.
            assert not any(reader.ended for reader in readers)
            await eventually(
                lambda: all(one.ended or one.lost for one in readers), within=120, every=0.1
            )
        assert {(one.status, one.tokens, one.ended) for one in readers} == {(200, TOKENS, True)}
        with closing(sqlite3.connect(running.database)) as database:
            rows = database.execute(
                "SELECT state, attempt, turns.text, count(*) FROM generations"
                " JOIN turns ON generation_id = generations.id AND role = 'assistant'"
                " GROUP BY 1, 2, 3"
            ).fetchall()
    assert rows == [("completed", 1, TOKEN * TOKENS, STARTS)]
