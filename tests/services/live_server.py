"""An ASGI application behind a real uvicorn on a free port, inside the test's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from typing import Any

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:
            # Out of a task this would end the whole test run.
            raise RuntimeError("the application did not start; its log says why") from error
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # The test run's own handlers stay: Ctrl-C belongs to pytest.
        yield


@contextlib.asynccontextmanager
async def live_server(app: ASGIApp, *, grace: int = 1, **config: Any) -> AsyncIterator[str]:
    """Serve `app` and give its base URL, such as `http://127.0.0.1:40001`.

    On leaving, open requests get `grace` seconds and are then cancelled; the stop is bounded also
    for an application that hangs. `config` goes to uvicorn.Config. RuntimeError when the
    application's lifespan does not start.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    settings: dict[str, Any] = {"log_config": None, "lifespan": "on", "ws": "none", **config}
    server = _Server(uvicorn.Config(app, timeout_graceful_shutdown=grace, **settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="live server")
    try:
        await _ready(server, serving)
        if not serving.done():
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        try:
            await _ended(server, serving, grace)
        finally:
            listener.close()
            # Global to the process: left set, it would end every later stream at once.
            AppStatus.should_exit = False


async def _ready(server: _Server, serving: asyncio.Task[None]) -> None:
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    finally:
        ready.cancel()
    if not server.started and not serving.done():
        raise TimeoutError("the application did not start in time")


async def _ended(server: _Server, serving: asyncio.Task[None], grace: int) -> None:
    _, hanging = await asyncio.wait({serving}, timeout=grace + 5)
    if hanging:
        server.force_exit = True
        _, hanging = await asyncio.wait({serving}, timeout=2)
    if hanging:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        raise TimeoutError("the application did not stop")
    serving.result()
