"""An attempt asks its model at once, and tells nobody before its claim is on the disk."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs import keys
from jobs.database import Database
from jobs.generation import Generation, State
from jobs.provider import Provider
from jobs.pubsub import open_pubsub
from tests.jobs.at_work import OWNER, Work, at_work
from tests.services import HeldDisk, eventually

ATTEMPT = "SELECT state, attempt FROM generations WHERE id = :id"


@pytest.fixture
async def work(redis_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work over SQLite, without a worker yet."""
    async with at_work(redis_url, f"sqlite+aiosqlite:///{tmp_path}/relay.db", tmp_path) as work:
        yield work


@pytest.fixture(autouse=True)
def never_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat that is just being written makes no claim go to a thread."""
    monkeypatch.setattr("jobs.sqlite_early.LOCK_SECONDS", 2.0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the model has said."""
    events: list[Any] = []
    run = Provider.round

    async def noted(self: Provider, request: Any, take: Any, **options: Any) -> None:
        def both(batch: Sequence[Any]) -> None:
            events.extend(batch)
            take(batch)

        await run(self, request, both, **options)

    monkeypatch.setattr(Provider, "round", noted)
    return events


async def claimed_but_not_stored(work: Work, disk: HeldDisk) -> Generation:
    """A generation whose claim waits for the disk; its model takes a second."""
    disk.goes_on.clear()
    asked = await work.ask("Hello", model="demo-words-30-pace-30")

    async def is_claimed() -> bool:
        [row] = await work.db.fetch(text(ATTEMPT), {"id": asked.id})
        return bool(row.attempt == 1)

    await eventually(is_claimed)
    # That of its admission, and that of its claim.
    await eventually(lambda: disk.asked == 2)
    return asked


async def test_the_model_is_asked_while_the_claim_waits_for_the_disk_and_nobody_is_told(
    work: Work, disk: HeldDisk, said: list[Any], redis_url: str
) -> None:
    heard: list[bytes] = []
    async with open_pubsub(redis_url) as pubsub:
        assert await pubsub.subscribe(keys.feed(OWNER), heard.append, lambda: None).wait()
        await work.hire()
        asked = await claimed_but_not_stored(work, disk)
        await eventually(lambda: len(said) > 5)
        assert await work.log(asked) == []
        assert heard == []
        disk.goes_on.set()
        await work.wrote(asked)
        await eventually(lambda: len(heard) >= 1)
        assert (await work.ended(asked)).state is State.COMPLETED
        assert len(await work.told(asked)) > 5


async def test_what_a_reader_was_shown_is_of_a_claim_that_survives_a_loss_of_power(
    work: Work, disk: HeldDisk, tmp_path: Path
) -> None:
    await work.hire()
    for _ in range(3):
        asked = await work.ask("Hello", model="demo-words-30-pace-30")
        await work.wrote(asked)
        async with Database.open(disk.survivor(tmp_path / "relay.db")) as left:
            [row] = await left.fetch(text(ATTEMPT), {"id": asked.id})
            assert (row.state, row.attempt) == ("running", 1)


async def test_an_attempt_whose_claim_the_disk_refuses_is_given_up_untold_and_begun_anew(
    work: Work, disk: HeldDisk, caplog: pytest.LogCaptureFixture
) -> None:
    await work.hire(relay_lease_seconds=1.0)
    asked = await claimed_but_not_stored(work, disk)
    disk.error = OSError(5, "Input/output error")
    disk.goes_on.set()
    await eventually(lambda: "not stored for certain" in caplog.text)
    assert await work.log(asked) == []
    disk.error = None
    assert (await work.ended(asked, within=15)).state is State.COMPLETED
    told = await work.told(asked)
    assert (told[0].name, told[0].cursor.attempt) == ("reset", 2)
