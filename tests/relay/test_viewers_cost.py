"""What a viewer costs its relay on the real way, from the hub to a server's own socket."""

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

import jobs
import relay
from jobs.attempt_log import AttemptLog
from jobs.database import Database
from jobs.events import Notice
from relay.app import create_app
from relay.follow import Follower
from relay.services import Services, connect
from tests.relay.live import relay_settings
from tests.relay.meter import Meter
from tests.relay.raw_reader import RawAnswer, ask
from tests.relay.stage import Author, authoring
from tests.services import eventually, live_server
from tests.services.tallies import statements, tasks_made_by

VIEWERS, MESSAGES = 8, 10
LARGE = 200_000


@dataclass(slots=True)
class Audience:
    """Viewers of one generation that runs, of a relay beside which no rescuer and no beat runs."""

    author: Author
    log: AttemptLog
    services: Services
    url: str
    _stack: AsyncExitStack = field(repr=False)
    viewers: list[RawAnswer] = field(default_factory=list)

    async def join(self, number: int) -> None:
        """So many more, each of which has all there is and waits for what comes."""
        url = f"{self.url}/v1/generations/{self.log.generation_id}/events"
        for _ in range(number):
            viewer = await self._stack.enter_async_context(ask(url))
            viewer.start()
            self.viewers.append(viewer)
        await eventually(lambda: self._listening() == len(self.viewers))

    def _listening(self) -> int:
        streams = self.services.sources.pulse._streams
        followers = [one for one in streams if isinstance(one, Follower)]
        # A row that is read beside the log is a statement that is yet to come.
        return sum(one._listens and one._row is None for one in followers)

    async def hear(self, message: str) -> None:
        """Returns once all of them have this message, which is written now."""
        self.log.append("notice", Notice("n", message))
        await self.author.flush()
        last = message[-20:].encode()
        await eventually(lambda: all(last in one.chunks[-1] for one in self.viewers))


@asynccontextmanager
async def audience(database_url: str, redis_url: str, **config: Any) -> AsyncIterator[Audience]:
    """No viewer yet; `config` is the server's."""
    settings = relay_settings(
        database_url, redis_url, RELAY_HEARTBEAT_SECONDS="3600", RELAY_IDLE_TIMEOUT_SECONDS="3600"
    )
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        author = await enter(authoring(database_url, redis_url, owner="local"))
        services = await enter(connect(settings, await enter(Database.open(database_url))))
        url = await enter(live_server(create_app(services=services), **config))
        log = await author.running()
        await author.flush()
        yield Audience(author, log, services, url, stack)
        await author.end(log)


async def test_any_number_of_viewers_cost_as_many_statements_each_and_what_they_hear_none(
    migrated_url: str, redis_url: str
) -> None:
    async with audience(migrated_url, redis_url) as many:
        await many.join(1)
        costs = []
        for number in (1, VIEWERS):
            with statements() as seen:
                await many.join(number)
            costs.append(len([one for one in seen if not one.startswith("BEGIN")]) / number)
        assert costs[0] == costs[1] <= 1, "its row"
        with statements() as seen:
            for number in range(MESSAGES):
                await many.hear(f"message {number}.")
        assert seen == []


async def test_a_live_event_makes_no_task_for_any_of_its_viewers(
    migrated_url: str, redis_url: str
) -> None:
    async with audience(migrated_url, redis_url) as many:
        await many.join(VIEWERS)
        with tasks_made_by(relay, jobs, uvicorn) as made:
            for number in range(MESSAGES):
                await many.hear(f"message {number}.")
        assert made == []


async def test_a_large_live_event_is_copied_once_a_viewer_to_be_framed_and_no_more(
    migrated_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds what the relay's code holds at once from the hub's call of a viewer to the write."""
    meter = Meter()
    async with audience(migrated_url, redis_url, http=meter.protocol()) as many:
        await many.join(VIEWERS)
        monkeypatch.setattr(Follower, "on_message", meter.on_message())
        tracemalloc.start()
        try:
            for number in range(MESSAGES):
                await many.hear("x" * LARGE + f" message {number}.")
        finally:
            tracemalloc.stop()
            monkeypatch.undo()
        assert len(meter.most) == meter.writes == VIEWERS * MESSAGES, "all went directly"
        # Formatting takes a quarter more than what it gives, for a moment.
        assert LARGE <= max(meter.most) < 1.5 * LARGE
