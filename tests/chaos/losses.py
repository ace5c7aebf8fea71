"""Only who lost the worker that held an attempt, or the log that it wrote, may begin it anew."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from tests.chaos.changes import Claim
from tests.chaos.reader import Reader, Seen
from tests.chaos.records import Asked, Disturbance, Told, Truth

FOUND_OUT_SECONDS = 3.0
"""How long after it can be heard of again a worker may still be taken for lost: the claim of an
other was on its way, or its own heartbeat is."""
CLOCKS_DIFFER = 0.05


def of_losses(truth: Truth, disturbances: Sequence[Disturbance], workers: Collection[str]) -> Told:
    """What is wrong with the attempts of one generation; `workers` are all ids there were."""
    claims = truth.claims
    numbers = [one.attempt for one in claims]
    if numbers != list(range(1, truth.resource["attempt"] + 1)):
        yield "every attempt is claimed once", f"{numbers} of {truth.resource['attempt']}"
    for before, after in pairwise(claims):
        if why := _unexcused(truth, before, after, disturbances, workers):
            yield "no new attempt while its worker lives", why


def unexcused_end(
    asked: Asked, truth: Truth, disturbances: Sequence[Disturbance], max_attempts: int
) -> str:
    """Why it may not have ended as `worker_lost`; empty where it may."""
    claims = truth.claims
    lost = sum(one.reset == "worker_lost" for one in claims)
    if asked.restartable:
        return "" if lost >= max_attempts else f"{lost} of {max_attempts} attempts were lost"
    # Its readers know no reset, so that even who is stopped in order ends it so.
    stopped = claims and any(
        one.loss == "stopped"
        and one.hit(claims[-1].worker_id)
        and claims[-1].at <= one.ended
        and one.began <= truth.ended_at
        for one in disturbances
    )
    return "" if lost or stopped else f"nobody lost it: {claims}"


def unexcused_reset(
    reader: Reader, seen: Seen, truth: Truth, disturbances: Sequence[Disturbance]
) -> str:
    """Why this reader should not have been told to forget; empty where it should."""
    reason, attempt = seen.event.data["reason"], seen.event.data["attempt"]
    claim = next((one for one in truth.claims if one.attempt == attempt), None)
    if claim is None or claim.at > seen.at + CLOCKS_DIFFER:
        return f"there was no attempt {attempt} yet: {truth.claims}"
    match reason:
        case "worker_lost" | "handed_over":
            # Whether that attempt should have begun is asked of all, heard of or not.
            return "" if claim.reset == reason else f"the row says {claim}"
        case "log_lost":
            told = sum(
                (one.event.data["reason"], one.event.data["attempt"]) == (reason, attempt)
                for one in reader.resets
                if one.at <= seen.at
            )
            losses = data_losses(disturbances, claim.at, seen.at)
            return "" if losses >= told else f"{losses} losses of data, told {told} times"
    return f"{reason} is for cursors that can't be right"


def data_losses(disturbances: Sequence[Disturbance], after: float, before: float) -> int:
    """How often Redis lost what was in it between these times."""
    return sum(
        one.loses_data and one.ended >= after and one.began <= before for one in disturbances
    )


def _unexcused(
    truth: Truth,
    before: Claim,
    after: Claim,
    disturbances: Sequence[Disturbance],
    workers: Collection[str],
) -> str:
    if before.worker_id not in workers:
        # A rescuer's own claim only ends what was lost, and has no lease that could be lost.
        error = (truth.resource["error"] or {}).get("code")
        ends = truth.state == "cancelled" or error == "worker_lost"
        return "" if ends else f"{before.worker_id} is no worker's, but it ran on: {truth.claims}"
    if any(_lost(one, before, after) for one in disturbances):
        return ""
    return f"{before.worker_id} held attempt {before.attempt} and was not lost: {after}"


def _lost(one: Disturbance, before: Claim, after: Claim) -> bool:
    """Whether it took away from its holder what was then claimed by another."""
    if one.loss is None or not one.hit(before.worker_id):
        return False
    if after.reset == "handed_over" and one.loss != "stopped":
        return False
    # A process that ended never comes back under the same id; one that was silent may.
    found_out_by = one.ended + FOUND_OUT_SECONDS if one.loss == "silent" else float("inf")
    return (
        one.began <= after.at + CLOCKS_DIFFER
        and one.ended >= before.at - CLOCKS_DIFFER
        and after.at <= found_out_by
    )
