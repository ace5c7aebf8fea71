"""Many readers of one generation, without a server: what a message costs up to their sockets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from jobs.stream_log import Message
from relay.follow import Follower
from relay.sources import Sources


class _Still:
    """Stands for sources that nothing is read from."""

    def add(self, stream: object) -> None:
        """Keeps no time."""

    def discard(self, stream: object) -> None:
        """Keeps no time."""

    def leave(self, listener: object, **_: Any) -> None:
        """Was never joined."""


@contextmanager
def listening(number: int) -> Iterator[Callable[[Message], None]]:
    """A call that tells all of these readers, each of which has heard event 1 and waits."""
    still = _Still()
    sources = cast(Sources, type("Quiet", (), {"pulse": still, "hub": still})())
    followers = [Follower(sources, "gen_bench") for _ in range(number)]
    written = [0]

    def write(chunk: bytes) -> bool:
        written[0] += len(chunk)
        return True

    for follower in followers:
        follower.write_through(write)
        follower.begin_queued()
        follower._past.attempt, follower._past.seq = 1, 1
        follower._listens = True

    def tell(message: Message) -> None:
        for follower in followers:
            follower.on_message(message)

    yield tell
    assert written[0] > 0
    for follower in followers:
        follower.close()
