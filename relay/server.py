"""The relay's own server process, whose stopping is bounded whatever its readers do."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from jobs.database import database_url
from jobs.errors import JobsError
from jobs.limits import collect_rarely, raise_file_limit, share_interpreter
from jobs.logs import configure_logging
from jobs.masking import secrets_of
from jobs.trace_export import exporter
from relay.app import create_app
from relay.connections import Connection
from relay.listening import BACKLOG, Address, listen, listening_at
from relay.settings import RelaySettings

log = logging.getLogger(__name__)

STOPPING_SECONDS = 5
TICK_SECONDS = 1.0
"""uvicorn's own is a tenth of it, though there is something to do once a second."""
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than nginx or an SDK keeps its end of one.

Else a request may come on one that is just being closed, and is tried again or is a 502.
"""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class NotServed(JobsError):
    """The app did not start; its log says why."""

    def __init__(self) -> None:
        super().__init__("the relay did not start; the log above says why")


def serve(settings: RelaySettings, address: Address, *, demo: bool = False) -> None:
    """Serves until SIGTERM or SIGINT; open streams are cut then, and resume elsewhere.

    Returns within some STOPPING_SECONDS of the signal, whatever the readers do. Raises PortTaken,
    InvalidSetting and NotServed.
    """
    configure_logging(settings.jobs.relay_log_format, secrets_of(settings, settings.jobs))
    raise_file_limit()
    share_interpreter()
    database_url(settings.jobs.relay_database_url)
    exporter()
    app = create_app(settings, demo=demo)
    listener = listen(address)
    config = server_config(app)
    server = _Server(config, listening_at(listener, address.host))
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listener]))
    if not server.started:
        raise NotServed


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How the relay is served."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        loop="uvloop",
        http=Connection,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOPPING_SECONDS,
    )


class _Server(uvicorn.Server):
    """Says where it listens, and takes an orderly end for no death by signal."""

    def __init__(self, config: uvicorn.Config, address: Address) -> None:
        super().__init__(config)
        self._address = address
        self._asked_to_stop = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            collect_rarely()
            log.info("relay is ready", extra={"url": self._address.url})

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._asked_to_stop.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own closes nothing after a further SIGINT; the stop is bounded without that.
        self.should_exit = True
        asyncio.get_running_loop().call_soon_threadsafe(self._asked_to_stop.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # signal.signal, as uvicorn does it: sse-starlette finds the server by its handler.
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
