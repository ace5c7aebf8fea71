"""A revoked token's open streams end within a minute: one look at the database for all of them."""

import logging

import anyio

from jobs.errors import JobsError
from relay.auth import still_valid
from relay.services import Services

logger = logging.getLogger(__name__)

CHECK_SECONDS = 20.0


async def end_revoked_streams(services: Services) -> None:
    """Cuts off the streams of every token that is no longer valid."""
    prefixes = services.slots.token_prefixes()
    if not prefixes:
        return
    for prefix in prefixes - await still_valid(services, prefixes):
        logger.info("token %s is no longer valid: its streams are ended", prefix)
        services.slots.end_streams(prefix)


async def watch_revocations(services: Services) -> None:
    """Runs end_revoked_streams for as long as the relay does.

    While the database is away nothing is known to be revoked, so nothing is cut off.
    """
    while True:
        await anyio.sleep(CHECK_SECONDS)
        try:
            await end_revoked_streams(services)
        except JobsError as error:
            logger.warning("revoked tokens could not be looked up: %s", error)
