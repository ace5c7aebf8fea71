"""One subscribing connection for all streams of this relay: each channel has many listeners."""

from collections.abc import Callable
from typing import Any, Protocol

from jobs import keys
from jobs.pubsub import PubSub, Subscription
from jobs.stream_log import parse_message


class Listener(Protocol):
    """One reader of a channel; both calls return at once, and neither joins nor leaves."""

    def on_message(self, payload: Any) -> None:
        """Takes what was just published: a Message for a generation, else its bytes."""

    def on_subscribed(self) -> None:
        """Hears that the subscription holds from now on; what came before may be missing."""


class _Channel:
    __slots__ = ("_parse", "listeners", "subscription")

    def __init__(self, parse: Callable[[bytes], Any]) -> None:
        self._parse = parse
        self.listeners: dict[Listener, None] = {}
        self.subscription: Subscription | None = None

    def on_message(self, payload: bytes) -> None:
        message = self._parse(payload)
        for listener in self.listeners:
            listener.on_message(message)

    def on_subscribed(self) -> None:
        for listener in self.listeners:
            listener.on_subscribed()


class Hub:
    """Who listens to which channel."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._channels: dict[str, _Channel] = {}

    @property
    def channels(self) -> int:
        """How many channels have a listener."""
        return len(self._channels)

    @property
    def connections(self) -> int:
        """How many connections to Redis were made to subscribe; one that was lost is made anew."""
        return self._pubsub.connections

    async def follow(self, generation_id: str, listener: Listener) -> bool:
        """Adds a reader of a generation's events.

        True once Redis has acknowledged, False if it did not in time: the reader stays in both
        cases, and hears of a late acknowledgement by `on_subscribed`.
        """
        return await self._join(keys.live(generation_id), listener, parse_message)

    def listen(self, generation_id: str, listener: Listener) -> bool:
        """Adds a reader as `follow` does, which then has less to wait for.

        Whether that has nothing to wait for: the subscription of other readers holds.
        """
        channel = self._channel(keys.live(generation_id), listener, parse_message)
        assert channel.subscription is not None
        return channel.subscription.acknowledged.is_set()

    async def watch(self, owner: str, listener: Listener) -> bool:
        """Adds a reader of an owner's feed; as `follow`."""
        return await self._join(keys.feed(owner), listener, bytes)

    def leave(self, listener: Listener, *, generation_id: str = "", owner: str = "") -> None:
        """Removes a reader of a generation or of a feed; a channel without any is given up."""
        name = keys.live(generation_id) if generation_id else keys.feed(owner)
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.listeners.pop(listener, None)
        if not channel.listeners:
            del self._channels[name]
            if channel.subscription is not None:
                channel.subscription.close()

    async def _join(self, name: str, listener: Listener, parse: Callable[[bytes], Any]) -> bool:
        channel = self._channel(name, listener, parse)
        assert channel.subscription is not None
        return await channel.subscription.wait()

    def _channel(self, name: str, listener: Listener, parse: Callable[[bytes], Any]) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(parse)
            channel.subscription = self._pubsub.subscribe(
                name, channel.on_message, channel.on_subscribed
            )
        channel.listeners[listener] = None
        return channel
