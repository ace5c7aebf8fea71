"""The server's connections: a reader that the kernel gave up on is counted as one cut off.

Who takes nothing of a slow stream fills the kernel's buffers alone, and is dropped by it
(`relay/listening.py`) long before a send has to wait.
"""

import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

log = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """One connection of a server whose app is a relay."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it where the kernel's patience ended within an answer."""
        cycle: RequestResponseCycle | None = self.cycle
        answering = cycle is not None and not cycle.response_complete
        super().connection_lost(exc)
        if answering and isinstance(exc, TimeoutError):
            log.info("a reader acknowledged nothing and was dropped")
            services = self.config.app.state.services  # type: ignore[union-attr]
            if services is not None:
                services.sources.pulse.cut_off += 1
