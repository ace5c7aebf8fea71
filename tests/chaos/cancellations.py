"""A cancellation that was accepted is in force within two seconds, whatever else is done.

It may still lose a race: against an answer that was over before it, or while it was on its way.
"""

from collections.abc import Iterable, Sequence

from tests.chaos.reader import TERMINAL
from tests.chaos.records import Asked, Disturbance, Told, Truth

IN_FORCE_SECONDS = 2.0
BUSY_SECONDS = 1.0
"""What a machine that has much else to do may add to it."""
STORED_SECONDS = 3.0
"""How long the commit of what was cancelled may take beside all else that is done there."""
RECOVERS_SECONDS = 2.0
"""How long a worker that could not hear may need until its next heartbeat is stored."""
CLOCKS_DIFFER = 0.05


def of_cancellations(asked: Asked, truth: Truth, disturbances: Sequence[Disturbance]) -> Told:
    """What breaks this promise in the history of one generation."""
    for one in asked.cancels:
        if one.state in TERMINAL and one.state != truth.state:
            yield "an end that was told to who cancels is the end", f"{one} but {truth.resource}"
    since = _accepted_at(asked, truth)
    if since is None or truth.state not in TERMINAL:
        return
    newest = truth.claims[-1] if truth.claims else None
    is_cancelled = truth.state == "cancelled"
    if newest is None or newest.at > since + CLOCKS_DIFFER:
        if is_cancelled:
            return
        yield (
            "what begins after its cancellation only ends",
            f"cancelled at {since:.2f}, then {newest}: {truth.resource}",
        )
        return
    decided = _decided_at(asked, truth)
    deaf = [one for one in disturbances if one.deafens and one.hit(newest.worker_id)]
    heard = _undisturbed(since, decided, deaf)
    if heard > IN_FORCE_SECONDS + BUSY_SECONDS + (STORED_SECONDS if is_cancelled else 0.0):
        yield (
            "a cancellation is in force within two seconds",
            f"accepted at {since:.2f}, and its end was decided at {decided:.2f}, {heard:.2f} s of"
            f" which {newest.worker_id} could hear of it: {truth.resource}",
        )


def _accepted_at(asked: Asked, truth: Truth) -> float | None:
    """From when on somebody was told, or the row says, that it is to stop."""
    told = [one.answered_at for one in asked.cancels if one.state not in TERMINAL]
    stored = [one.at for one in truth.changes if one.cancel_requested]
    return min([*told, *stored], default=None)


def _decided_at(asked: Asked, truth: Truth) -> float:
    """When its end stood: it was committed by then, or the last of a whole answer was shown."""
    newest, whole = truth.resource["attempt"], len(truth.text)
    shown = (
        one.at
        for reader in asked.readers
        for one in reader.seen
        if truth.state == "completed" and one.event.event == "token"
        if (one.event.cursor.attempt, one.event.cursor.offset) == (newest, whole)
    )
    return min([truth.ended_at, *shown])


def _undisturbed(since: float, until: float, disturbances: Iterable[Disturbance]) -> float:
    """The seconds between these times in which none of the disturbances was felt."""
    total, at = 0.0, since
    for one in sorted(disturbances, key=lambda one: one.began):
        total += max(0.0, min(one.began, until) - at)
        at = max(at, one.ended + RECOVERS_SECONDS)
    return total + max(0.0, until - at)
