"""A live relay behind a real server, and who writes what it reads."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette

from jobs.attempt_log import AttemptLog
from relay.app import create_app
from relay.services import Services
from relay.settings import RelaySettings, read_relay_settings
from tests.relay.raw_reader import RawAnswer, ask
from tests.relay.stage import Author
from tests.services import live_server

CHAT = json.dumps({"kind": "chat", "input": "hello"}).encode()


@dataclass(frozen=True, slots=True)
class Live:
    """A relay behind a real server, and who writes what it reads."""

    url: str
    services: Services
    author: Author

    def events_url(self, generation_id: str) -> str:
        """Where its events are."""
        return f"{self.url}/v1/generations/{generation_id}/events"

    @asynccontextmanager
    async def follow(self, log: AttemptLog, cursor: object = None) -> AsyncIterator[RawAnswer]:
        """A reader whose chunks are read in a task."""
        headers = {} if cursor is None else {"Last-Event-ID": str(cursor)}
        async with ask(self.events_url(log.generation_id), headers=headers) as answer:
            answer.start()
            yield answer

    @asynccontextmanager
    async def started(self) -> AsyncIterator[tuple[RawAnswer, str]]:
        """A POST that streams, and the id of what it started."""
        url = f"{self.url}/v1/generations?stream=true"
        async with ask(url, method="POST", body=CHAT) as answer:
            assert answer.status == 200
            answer.start()
            yield answer, answer.headers["location"].rsplit("/", 1)[1]


def relay_settings(database_url: str, redis_url: str, **variables: str) -> RelaySettings:
    """A relay's settings without authorization."""
    environment = {
        "RELAY_AUTH": "off",
        "RELAY_MODEL": "none",
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
    }
    return read_relay_settings({**environment, **variables})


@asynccontextmanager
async def served(settings: RelaySettings, author: Author) -> AsyncIterator[Live]:
    """This relay, live, over the author's servers."""
    app: Starlette = create_app(settings)
    async with live_server(app) as url:
        # The local owner reads what the relay stores and what the author stores alike.
        yield Live(url, app.state.services, author)
