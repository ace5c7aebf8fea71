"""The checker finds a cancellation that was ignored, and excuses one that lost a race."""

from dataclasses import replace

import pytest

from tests.chaos.changes import Change
from tests.chaos.records import Cancel, Disturbance, Truth
from tests.chaos.samples import (
    FIRST,
    TURNS,
    WHOLE,
    broken,
    end,
    event,
    resource,
    second_attempt,
    status,
    stored,
)
from tests.relay.heard import Heard

IGNORED = "a cancellation is in force within two seconds"
BEGUN = "what begins after its cancellation only ends"
OTHER_END = "an end that was told to who cancels is the end"


def completed(changes: tuple[Change, ...]) -> Truth:
    return Truth(resource(), TURNS, WHOLE, WHOLE, changes=changes)


def slow(last_word_at: int, over_at: int) -> list[Heard]:
    """The whole answer, of which a reader hears the last word and the end at these times."""
    beat = event("1.2.6", "heartbeat", state="running")
    beats = [replace(beat, id=None)] * 30
    first = [*WHOLE[:2], *beats[: last_word_at - 2], WHOLE[2]]
    return [*first, *beats[: over_at - last_word_at - 1], WHOLE[3]]


def test_one_that_completes_long_after_its_cancellation_was_accepted_is_seen() -> None:
    truth = completed(stored(ended_at=9.0))
    events = slow(8, 10)
    assert broken(events, truth=truth) == set()
    accepted = Cancel(1.0, "running")
    assert broken(events, truth=truth, cancelled=True, cancels=[accepted]) == {IGNORED}
    # The row says so too, whoever asked.
    in_row = completed(stored(ended_at=9.0, cancelled_at=1.0))
    assert broken(events, truth=in_row, cancelled=True) == {IGNORED}


def test_one_that_ends_as_cancelled_long_after_that_was_accepted_is_seen() -> None:
    events = [status(), WHOLE[1], end("1.3.6", "cancelled")]
    turns = [TURNS[0], ("assistant", "Hello ", True)]
    for at, rules in ((1.0, {IGNORED}), (5.0, set())):
        changes = stored("cancelled", ended_at=9.0, cancelled_at=at)
        truth = Truth(resource("cancelled", "Hello "), turns, events, events, changes=changes)
        assert broken(events, truth=truth, cancelled=True) == rules


def test_an_answer_that_was_over_before_its_cancellation_was_accepted_is_honest() -> None:
    # The last word was shown, and the commit waited for its database.
    truth = completed(stored(ended_at=9.0, cancelled_at=5.0))
    accepted = Cancel(5.1, "running")
    assert broken(slow(4, 10), truth=truth, cancelled=True, cancels=[accepted]) == set()
    assert broken(slow(9, 10), truth=truth, cancelled=True, cancels=[accepted]) == {IGNORED}


def test_an_answer_that_ends_while_its_cancellation_is_on_its_way_is_honest() -> None:
    truth = completed(stored(ended_at=9.0))
    for at, rules in ((7.5, set()), (4.0, {IGNORED})):
        cancels = [Cancel(at, "running")]
        assert broken(slow(9, 10), truth=truth, cancelled=True, cancels=cancels) == rules


@pytest.mark.parametrize("code", ["model_timeout", "timeout"])
def test_one_that_fails_long_after_its_cancellation_was_accepted_is_seen(code: str) -> None:
    failed = [*WHOLE[:3], end("1.4.9", "failed")]
    row = resource("failed", error={"code": code})
    turns = [TURNS[0], ("assistant", "Hello you", True)]
    for at, rules in ((1.0, {IGNORED}), (7.5, set())):
        changes = stored("failed", ended_at=9.0, cancelled_at=at)
        truth = Truth(row, turns, failed, failed, changes=changes)
        fails = frozenset({code})
        assert broken(failed, truth=truth, cancelled=True, fails_with=fails) == rules


def test_what_keeps_its_worker_from_hearing_of_it_counts_for_nothing_else() -> None:
    truth = completed(stored(ended_at=9.0, cancelled_at=1.0))

    def with_fault(began: float, ended: float, *workers: str, deafens: bool = True) -> set[str]:
        hit = frozenset(workers) or None
        fault = Disturbance("frozen", began, ended, 1, "", hit, deafens=deafens)
        return broken(slow(9, 10), truth=truth, cancelled=True, struck=[fault])

    assert with_fault(1.0, 6.5, "wrk_1") == set()
    assert with_fault(1.0, 6.5) == set()
    assert with_fault(1.0, 6.5, "wrk_2") == {IGNORED}
    assert with_fault(1.0, 6.5, "wrk_1", deafens=False) == {IGNORED}
    assert with_fault(1.0, 3.0, "wrk_1") == {IGNORED}
    assert with_fault(8.0, 12.0, "wrk_1") == {IGNORED}


def test_an_attempt_that_begins_after_the_cancellation_and_completes_is_seen_at_once() -> None:
    anew = second_attempt()
    killed = Disturbance("worker killed", 0.8, 1.0, 1, "", frozenset({"wrk_1"}), "killed")

    def begun_at(claimed: float, cancelled_at: float) -> set[str]:
        attempts = (FIRST, (claimed, "wrk_2", "worker_lost"))
        changes = stored(attempts=attempts, ended_at=4.0, cancelled_at=cancelled_at)
        truth = Truth(resource(attempt=2), TURNS, anew, anew, changes=changes)
        return broken([*WHOLE[:2], *anew], truth=truth, cancelled=True, struck=[killed])

    assert begun_at(2.0, cancelled_at=1.5) == {BEGUN}
    assert begun_at(2.0, cancelled_at=2.5) == set()


def test_an_end_that_the_relay_told_to_who_cancelled_is_the_end() -> None:
    truth = completed(stored())
    assert broken(truth=truth, cancelled=True, cancels=[Cancel(3.5, "completed")]) == set()
    told = [Cancel(0.5, "cancelled")]
    assert broken(truth=truth, cancelled=True, cancels=told) == {OTHER_END}


def test_one_that_was_cancelled_before_it_ran_is_whole_without_an_attempt() -> None:
    events = [event("0.1.0", "status", state="queued", attempt=0), end("0.2.0", "cancelled")]
    row = resource("cancelled", "", attempt=0)
    truth = Truth(row, TURNS[:1], events, events, changes=stored("cancelled", ()))
    cancels = [Cancel(3.1, "cancelled")]
    assert broken(events, truth=truth, cancelled=True, cancels=cancels) == set()
    assert broken(events, truth=truth) == {"cancelled only if somebody asked"}


def test_a_cancellation_in_force_in_time_breaks_nothing() -> None:
    events = [status(), WHOLE[1], end("1.3.6", "cancelled")]
    turns = [TURNS[0], ("assistant", "Hello ", True)]
    row = resource("cancelled", "Hello ")
    changes = stored("cancelled", ended_at=2.0, cancelled_at=1.5)
    truth = Truth(row, turns, events, events, changes=changes)
    cancels = [Cancel(1.6, "running"), Cancel(2.5, "cancelled")]
    assert broken(events, truth=truth, cancelled=True, cancels=cancels) == set()
