"""One subscribing connection to Redis for a whole process: acknowledged, watched, re-made.

A subscription counts from its acknowledgement, not from the command being written. A connection
that was lost or went silent is replaced, and every channel's `on_subscribed` is called once it is
subscribed again: what was published in between is to be read from the log. The protocol is spoken
here, since redis-py's pub/sub can't tell a dead network from silence (redis-py#2417), and hands out
a message at ten times the cost.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import hiredis

from jobs.outage import Outage
from jobs.redis_link import REDIS_FAILURES
from jobs.redis_wire import Address, Wire, open_wire

log = logging.getLogger(__name__)

ACK_TIMEOUT_SECONDS = 1.0
PING_EVERY_SECONDS = 2.0
"""A ping that is not answered when the next one is due ends the connection."""
RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_LAST_SECONDS = 1.0
CHANNELS_A_COMMAND = 500

# Keeps the connection in subscribed state, where PING is answered in pub/sub form; its
# acknowledgement tells that the connection works.
_ALWAYS = b"relay:link"

OnMessage = Callable[[bytes], None]
OnSubscribed = Callable[[], None]


class Subscription:
    """One channel's listener: `close()` ends it."""

    __slots__ = ("_link", "acknowledged", "channel", "on_message", "on_subscribed")

    def __init__(
        self, link: "PubSub", channel: bytes, on_message: OnMessage, on_subscribed: OnSubscribed
    ):
        self._link = link
        self.channel = channel
        self.on_message = on_message
        self.on_subscribed = on_subscribed
        self.acknowledged = asyncio.Event()
        """Set while Redis is known to deliver: not between a lost connection and the next ack."""

    async def wait(self, seconds: float = ACK_TIMEOUT_SECONDS) -> bool:
        """Whether Redis has acknowledged the subscription within this time."""
        if self.acknowledged.is_set():
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.acknowledged.wait()
        return self.acknowledged.is_set()

    def close(self) -> None:
        """Stops listening; the channel is given up."""
        self._link.drop(self)


class PubSub:
    """The connection, and the one listener of each channel. Open it with `open_pubsub`."""

    def __init__(self, url: str) -> None:
        self._address = Address.of_url(url)
        self._channels: dict[bytes, Subscription] = {}
        self._wire: Wire | None = None
        # Acknowledgements to come: only the last one of a channel is its present listener's.
        self._due: Counter[bytes] = Counter()
        self._healthy = False
        self._outage = Outage("the subscribing connection to Redis")
        self._delay = RECONNECT_FIRST_SECONDS
        self.connections = 0
        """How many connections were made so far; more than one means that one was lost."""

    @property
    def connected(self) -> bool:
        """Whether a connection is up as far as can be known: subscribed, and answering pings."""
        return self._healthy

    def subscribe(
        self, channel: str, on_message: OnMessage, on_subscribed: OnSubscribed
    ) -> Subscription:
        """Listens on a channel from the acknowledgement on; callbacks must not block.

        `on_subscribed` is called at each acknowledgement: before it, also before the first one,
        messages may have been lost. One listener a channel: ValueError for a second one.
        """
        name = channel.encode()
        if name in self._channels:
            raise ValueError(f"{channel} has a listener already")
        subscription = self._channels[name] = Subscription(self, name, on_message, on_subscribed)
        self._subscribe(name)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Gives up a channel, if this is still its listener."""
        if self._channels.get(subscription.channel) is subscription:
            del self._channels[subscription.channel]
            if self._wire is not None:
                self._wire.send(b"UNSUBSCRIBE", subscription.channel)

    async def run(self) -> None:
        """Keeps a connection until cancelled; failures only make the next try later."""
        while True:
            try:
                wire = await open_wire(self._address, self._on_reply, self._on_lost)
            except REDIS_FAILURES as error:
                self._outage.lasts(f"{type(error).__name__}: {error}")
            else:
                self._begin(wire)
                await self._watch(wire)
            delay = self._delay
            self._delay = min(delay * 2, RECONNECT_LAST_SECONDS)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    def _begin(self, wire: Wire) -> None:
        self._wire = wire
        self._due.clear()
        self.connections += 1
        names = [_ALWAYS, *self._channels]
        for start in range(0, len(names), CHANNELS_A_COMMAND):
            self._subscribe(*names[start : start + CHANNELS_A_COMMAND])

    async def _watch(self, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        while not wire.lost.is_set():
            wire.send(b"PING", b"alive")
            asked = loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY_SECONDS):
                    await wire.lost.wait()
            # A frozen server keeps the connection open and answers nothing.
            if wire.heard_at < asked and not wire.lost.is_set():
                self._outage.lasts("it went silent")
                self.close()
                await wire.lost.wait()

    def close(self) -> None:
        """Drops the connection at once; `run` makes the next one."""
        if self._wire is not None:
            self._wire.abort()

    def _on_lost(self, wire: Wire) -> None:
        if wire is self._wire:
            self._wire = None
            self._healthy = False
            for subscription in self._channels.values():
                subscription.acknowledged.clear()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, list):
            what, channel = reply[0], reply[1]
            subscription = self._channels.get(channel)
            try:
                if what == b"message":
                    if subscription is not None:
                        subscription.on_message(reply[2])
                elif what == b"subscribe":
                    self._acknowledge(channel, subscription)
            except Exception:
                # One listener's failure must not cost the others their connection.
                log.exception("a listener failed", extra={"channel": str(channel)})
        elif isinstance(reply, hiredis.ReplyError):
            log.error("redis refused the subscribing connection", extra={"reason": str(reply)})
            self.close()

    def _acknowledge(self, channel: bytes, subscription: Subscription | None) -> None:
        self._due[channel] -= 1
        if self._due[channel] > 0:
            # It was given up and taken again meanwhile: this answers the earlier listener.
            return
        del self._due[channel]
        if channel == _ALWAYS:
            self._healthy = True
            self._outage.over()
            # Only now: a server that takes connections and refuses commands is not hammered.
            self._delay = RECONNECT_FIRST_SECONDS
        if subscription is not None:
            subscription.acknowledged.set()
            subscription.on_subscribed()

    def _subscribe(self, *names: bytes) -> None:
        if self._wire is not None:
            self._due.update(names)
            self._wire.send(b"SUBSCRIBE", *names)


@asynccontextmanager
async def open_pubsub(url: str) -> AsyncIterator[PubSub]:
    """A subscribing connection that keeps itself up until the block ends."""
    link = PubSub(url)
    task = asyncio.create_task(link.run(), name="pubsub")
    try:
        yield link
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        link.close()
