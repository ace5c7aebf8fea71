"""A worker's answer to Prometheus, on an address of its own; nothing else is served there.

Every connection is bounded in time and size, and is closed after its one answer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from jobs.exposition import CONTENT_TYPE, Metric, expose
from jobs.settings import InvalidSetting

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
"""How long a connection may take, from its first byte to its last."""
HEAD_BYTES = 16 * 1024
CONNECTIONS = 16
"""Scrapes at once; whoever comes beyond is closed without an answer."""


@asynccontextmanager
async def serve_metrics(
    address: str, families: Callable[[], Iterable[Metric]]
) -> AsyncIterator[int]:
    """Serves `GET /metrics` at this `host:port` until the block ends; gives the port it got.

    An empty address serves nothing, and gives 0. Raises InvalidSetting for one that is taken.
    """
    if not address:
        yield 0
        return
    host, _, wanted = address.rpartition(":")
    open_now: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(open_now) >= CONNECTIONS:
            writer.transport.abort()
            return
        open_now.add(task)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await _answer(reader, writer, families)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, TimeoutError):
            log.debug("a scrape was not answered: it asked badly, or left")
        except Exception:
            log.exception("a scrape failed")
        finally:
            open_now.discard(task)
            # What was answered in whole is closed already.
            writer.transport.abort()

    try:
        server = await asyncio.start_server(
            answer, host.strip("[]") or None, int(wanted), limit=HEAD_BYTES
        )
    except OSError as error:
        raise InvalidSetting("RELAY_METRICS_ADDRESS", error.strerror or str(error)) from None
    port = int(server.sockets[0].getsockname()[1])
    log.info("metrics are served", extra={"host": host, "port": port})
    try:
        yield port
    finally:
        server.close()
        for task in tuple(open_now):
            task.cancel()
        if open_now:
            await asyncio.wait(open_now)


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    families: Callable[[], Iterable[Metric]],
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
    if target.partition(b"?")[0] != b"/metrics":
        status, body = "404 Not Found", b"there is only /metrics here\n"
    elif method not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", b"GET it\n"
    else:
        status, body = "200 OK", expose(families())
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {CONTENT_TYPE if status.startswith('200') else 'text/plain'}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        "",
        "",
    )
    writer.write("\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body))
    await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
