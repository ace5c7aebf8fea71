"""Finds logs that Redis lost, in the model's silence too, and keeps all of them alive there.

What is at rest is compared by its length alone, many logs in one call: a flush of nothing costs
six times as much. Whatever differs, and all where Redis can't tell, is left to the publisher.
"""

import asyncio
from typing import Never

from jobs.publisher import LOGS_A_FLUSH, Publisher
from jobs.redis_link import REDIS_FAILURES
from jobs.stream_log import StreamLog


async def keep_touching(publisher: Publisher, stream_log: StreamLog, every_seconds: float) -> Never:
    """Touches all logs each time that so many seconds have passed, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        await touch(publisher, stream_log)


async def touch(publisher: Publisher, stream_log: StreamLog) -> None:
    """Has the publisher look at each log, apart from those that are found to be whole."""
    resting = list(publisher.at_rest().items())
    whole: set[str] = set()
    try:
        for first in range(0, len(resting), LOGS_A_FLUSH):
            whole |= await stream_log.whole(dict(resting[first : first + LOGS_A_FLUSH]))
    except REDIS_FAILURES:
        # The publisher will fail as well, which it tells, and tries again until it does not.
        whole.clear()
    publisher.touch(whole)
