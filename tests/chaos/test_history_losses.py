"""The checker excuses a new attempt by the loss of who held the one before, and by nothing else."""

from dataclasses import replace

import pytest

from tests.chaos.records import Disturbance, Loss, Truth
from tests.chaos.samples import (
    FIRST,
    TURNS,
    WHOLE,
    Begun,
    broken,
    end,
    event,
    resource,
    second_attempt,
    stored,
)
from tests.relay.heard import Heard

BEGUN_ANEW = "no new attempt while its worker lives"
RESET = "no reset where nothing was lost"
ENDED = "worker_lost only after the last attempt"


def lost(worker: str = "wrk_1", loss: Loss | None = "killed", at: float = 0.5) -> Disturbance:
    return Disturbance("worker lost", at, at + 0.5, 1, "", frozenset({worker}), loss)


def begun_anew(reason: str = "worker_lost", at: float = 1.5) -> Truth:
    """It was claimed by wrk_1, and again by wrk_2; its readers heard of that at 2.0."""
    anew = second_attempt(reason)
    changes = stored(attempts=(FIRST, (at, "wrk_2", reason)), ended_at=5.0)
    return Truth(resource(attempt=2), TURNS, anew, anew, changes=changes)


def heard_anew(reason: str = "worker_lost") -> list[Heard]:
    return [*WHOLE[:2], *second_attempt(reason)]


@pytest.mark.parametrize(
    ("reason", "loss"),
    [
        ("worker_lost", "killed"),
        ("worker_lost", "silent"),
        ("worker_lost", "stopped"),
        ("handed_over", "stopped"),
    ],
)
def test_a_new_attempt_is_excused_by_the_loss_of_who_held_the_one_before(
    reason: str, loss: Loss
) -> None:
    truth, events = begun_anew(reason), heard_anew(reason)
    assert broken(events, truth=truth) == {BEGUN_ANEW}
    assert broken(events, truth=truth, struck=[lost(loss=loss)]) == set()


@pytest.mark.parametrize("reason", ["worker_lost", "handed_over"])
def test_the_loss_of_any_other_worker_excuses_nothing(reason: str) -> None:
    others = [lost("wrk_2", "stopped"), lost("wrk_3", "stopped")]
    assert broken(heard_anew(reason), truth=begun_anew(reason), struck=others) == {BEGUN_ANEW}


def test_what_hits_a_worker_without_losing_it_excuses_nothing() -> None:
    hit = lost(loss=None)
    everybody = replace(hit, workers=None)
    assert broken(heard_anew(), truth=begun_anew(), struck=[hit, everybody]) == {BEGUN_ANEW}


def test_only_who_is_stopped_hands_over() -> None:
    truth, events = begun_anew("handed_over"), heard_anew("handed_over")
    assert broken(events, truth=truth, struck=[lost(loss="silent")]) == {BEGUN_ANEW}


def test_a_loss_after_the_claim_or_before_the_attempt_excuses_nothing() -> None:
    after = lost(at=1.7)
    before = lost(loss="silent", at=-2.0)
    for loss in (after, before):
        assert broken(heard_anew(), truth=begun_anew(), struck=[loss]) == {BEGUN_ANEW}


def test_who_was_silent_and_came_back_long_ago_can_not_be_taken_for_lost() -> None:
    silent = lost(loss="silent", at=0.1)
    changes = stored(attempts=(FIRST, (20.0, "wrk_2", "worker_lost")), ended_at=22.0)
    truth = replace(begun_anew(), changes=changes)
    assert BEGUN_ANEW in broken(heard_anew(), truth=truth, struck=[silent])
    killed = replace(silent, loss="killed")
    assert BEGUN_ANEW not in broken(heard_anew(), truth=truth, struck=[killed])


def test_a_reset_is_of_the_attempt_and_the_reason_that_the_row_tells() -> None:
    loss = lost(loss="stopped")
    assert broken(heard_anew("handed_over"), truth=begun_anew(), struck=[loss]) >= {RESET}
    early = begun_anew(at=2.5)
    assert broken(heard_anew(), truth=early, struck=[loss]) == {RESET}


def test_an_attempt_that_nobody_claimed_is_seen() -> None:
    truth = replace(begun_anew(), changes=stored(attempts=(FIRST,), ended_at=5.0))
    assert "every attempt is claimed once" in broken(heard_anew(), truth=truth, struck=[lost()])


def test_a_newer_attempt_begins_with_its_reset() -> None:
    events = [*WHOLE[:2], *second_attempt()[1:]]
    rule = "a newer attempt begins with a reset"
    assert rule in broken(events, truth=begun_anew(), struck=[lost()])


def ended_as_lost(*attempts: Begun) -> Truth:
    shown = [*WHOLE[:3], end("1.4.9", "failed")]
    row = resource("failed", attempt=len(attempts), error={"code": "worker_lost"})
    turns = [TURNS[0], ("assistant", "Hello you", True)]
    return Truth(row, turns, shown, shown, changes=stored("failed", attempts, 5.0))


def test_worker_lost_is_the_end_only_where_every_attempt_was_lost() -> None:
    again: Begun = (1.5, "wrk_2", "worker_lost")
    by_rescuer: Begun = (3.5, "wrk_rescuer", "worker_lost")
    losses = [lost(), lost("wrk_2", at=2.0)]
    events = [*WHOLE[:3], end("1.4.9", "failed")]
    whole = ended_as_lost(FIRST, again, by_rescuer)
    assert broken(events, truth=whole, struck=losses) == set()
    assert broken(events, truth=whole, struck=losses[:1]) == {BEGUN_ANEW}
    once = ended_as_lost(FIRST, (1.5, "wrk_rescuer", "worker_lost"))
    assert broken(events, truth=once, struck=losses[:1]) == {ENDED}
    handed = ended_as_lost(FIRST, (1.5, "wrk_2", "handed_over"), by_rescuer)
    stops = [lost(loss="stopped"), losses[1]]
    assert broken(events, truth=handed, struck=stops) == {ENDED}


def test_what_may_not_begin_anew_ends_as_lost_with_who_stops_and_with_nobody_else() -> None:
    events = [*WHOLE[:3], end("1.4.9", "failed")]
    truth = ended_as_lost(FIRST)
    for loss in (lost("wrk_2", "stopped"), lost(loss="stopped", at=6.0), lost(loss="silent")):
        assert broken(events, truth=truth, struck=[loss], restartable=False) == {ENDED}
    assert broken(events, truth=truth, struck=[lost(loss="stopped")], restartable=False) == set()


def test_a_rescuer_only_ends_what_it_claims() -> None:
    changes = stored(
        attempts=(FIRST, (1.5, "wrk_rescuer", "worker_lost"), (1.8, "wrk_2", "worker_lost")),
        ended_at=5.0,
    )
    anew = [event("3.1.0", "reset", reason="worker_lost", attempt=3), *third_attempt()]
    truth = Truth(resource(attempt=3), TURNS, anew, anew, changes=changes)
    assert broken([*WHOLE[:2], *anew], truth=truth, struck=[lost()]) == {BEGUN_ANEW}


def third_attempt() -> list[Heard]:
    token = event("3.3.9", "token", text="Hello you")
    return [event("3.2.0", "status", state="running", attempt=3), token, end("3.4.9")]


def log_lost(times: int = 1) -> list[Heard]:
    lost_log = event("1.0.0", "reset", reason="log_lost", attempt=1)
    return [*WHOLE[:2], *([lost_log, *WHOLE[:2]] * (times - 1)), lost_log, *WHOLE]


def test_a_lost_log_is_excused_by_data_that_was_lost_while_the_attempt_ran() -> None:
    data = Disturbance("Redis lost", 0.5, 1.0, 1, "", loses_data=True)
    assert broken(log_lost()) == {RESET}
    assert broken(log_lost(), struck=[data]) == set()
    assert broken(log_lost(), struck=[lost()]) == {RESET}
    for at in (-9.0, 2.5):
        other = replace(data, began=at, ended=at + 0.2)
        assert broken(log_lost(), struck=[other]) == {RESET}


def test_one_loss_of_data_excuses_one_lost_log() -> None:
    data = Disturbance("Redis lost", 0.5, 1.0, 1, "", loses_data=True)
    assert broken(log_lost(2), struck=[data]) == {RESET}
    assert broken(log_lost(2), struck=[data, replace(data, began=3.0, ended=3.5)]) == set()


def test_an_unknown_cursor_has_no_excuse() -> None:
    events = [*WHOLE[:2], event("1.0.0", "reset", reason="unknown_cursor", attempt=1), *WHOLE]
    data = Disturbance("Redis lost", 0.5, 1.0, 1, "", loses_data=True)
    assert broken(events, struck=[data, lost()]) == {RESET}
