"""The checker sees what it is there for: each rule, broken on purpose, is named."""

from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.chaos.changes import Change
from tests.chaos.records import Asked, Disturbance, Truth
from tests.chaos.samples import (
    FIRST,
    ID,
    TURNS,
    WHOLE,
    broken,
    end,
    event,
    resource,
    rules_broken,
    status,
    stored,
)
from tests.chaos.sdk_reader import SdkReader


def test_a_history_without_fault_breaks_nothing() -> None:
    merged = [WHOLE[0], event("1.3.9", "token", text="Hello you"), WHOLE[3]]
    queued = event("0.1.0", "status", state="queued", attempt=0)
    for events in (WHOLE, merged, [queued, *WHOLE]):
        assert broken(events, text="Hello you") == set()


def test_a_gap_a_duplicate_and_a_wrong_order_are_seen() -> None:
    gap = "no gap and no duplicate in the text"
    assert gap in broken([WHOLE[0], WHOLE[2], WHOLE[3]])
    assert "ids rise" in broken([*WHOLE[:2], WHOLE[1], *WHOLE[2:]])
    assert gap in broken([WHOLE[0], WHOLE[2], WHOLE[1], WHOLE[3]])
    assert "nothing follows the end" in broken([*WHOLE, WHOLE[3]])


def test_a_text_that_is_not_the_committed_one_is_seen() -> None:
    other = [WHOLE[0], event("1.2.6", "token", text="Hullo "), *WHOLE[2:]]
    assert {
        "a reader's text is the committed text",
        "a reader's events are the replay's",
    } <= broken(other)
    assert "a completed answer is whole" in broken(text="Hello you all")


def test_a_second_turn_and_a_missing_one_are_seen() -> None:
    twice = Truth(resource(text="Hello youHello you"), [*TURNS, TURNS[1]], WHOLE, WHOLE)
    assert "at most one assistant turn a generation" in broken(truth=twice)
    missing = Truth(resource(text=""), TURNS[:1], WHOLE, WHOLE)
    assert "completed means that the row is there" in broken(truth=missing)


def test_a_replay_that_differs_is_seen() -> None:
    rebuilt = [status(), event("1.2.8", "token", text="Hello yo"), *WHOLE[2:]]
    found = broken(truth=Truth(resource(), TURNS, WHOLE, rebuilt))
    assert "SQL alone gives the same events as the log" in found


def test_a_reader_without_an_end_and_a_generation_without_one_are_seen() -> None:
    assert "every reader sees the end" in broken(WHOLE[:3])
    stuck = Truth(resource("running", ""), TURNS[:1], [], [])
    assert "every accepted generation ends" in broken(truth=stuck)


def test_an_end_without_a_reason_is_seen() -> None:
    def failed(code: str, attempt: int = 1) -> Truth:
        turns = [TURNS[0], ("assistant", "Hello you", True)]
        row = resource("failed", error={"code": code}, attempt=attempt)
        whole = [*WHOLE[:3], end("1.4.9", "failed")]
        return Truth(row, turns, whole, whole)

    without = "ends completed unless there is a reason"
    assert without in broken(truth=failed("timeout"))
    assert without in broken(truth=failed("model_error"))
    assert without not in broken(truth=failed("model_error"), fails_with=frozenset({"model_error"}))
    assert "worker_lost only after the last attempt" in broken(truth=failed("worker_lost"))
    assert "an upstream's fault is never completed" in broken(fails_with=frozenset({"model_error"}))


def test_a_cut_of_the_model_excuses_no_failure_that_came_before_it() -> None:
    turns = [TURNS[0], ("assistant", "Hello you", True)]
    whole = [*WHOLE[:3], end("1.4.9", "failed")]
    row = resource("failed", error={"code": "model_error"})
    truth = Truth(row, turns, whole, whole)
    # Its end is heard at 3.0.
    cut, late = (
        Disturbance("model link cut", at, at + 0.1, 1, "", cuts_model=True) for at in (2.0, 490.0)
    )
    assert broken(whole, truth=truth, struck=[cut]) == set()
    assert broken(whole, truth=truth, struck=[late]) == {"ends completed unless there is a reason"}


def test_usage_that_is_counted_twice_and_a_version_that_is_made_twice_are_seen() -> None:
    def ended(tokens: int, version: int) -> Truth:
        row = resource(usage={"input_tokens": 1, "output_tokens": tokens})
        row["output"]["persona_version"] = version
        return Truth(row, TURNS, WHOLE, WHOLE)

    assert broken(truth=ended(2, 1), tokens=2, makes_persona=True) == set()
    assert broken(truth=ended(4, 1), tokens=2, makes_persona=True) == {"usage is counted once"}
    assert broken(truth=ended(2, 2), tokens=2, makes_persona=True) == {"a version is made once"}
    assert "usage is counted once" in broken(tokens=2)


def sdk_event(number: int, kind: str = "response.output_text.delta", **more: Any) -> Any:
    return SimpleNamespace(sequence_number=number, type=kind, **more)


def told_by_sdk(state: str = "completed", text: str = "Hello you") -> list[Any]:
    final = SimpleNamespace(status=state, output_text=text)
    opening = [sdk_event(0, "response.created"), sdk_event(1, delta="Hello ")]
    return [*opening, sdk_event(2, delta="you"), sdk_event(3, f"response.{state}", response=final)]


def broken_for_sdk(
    events: list[Any],
    struck: list[Disturbance] | None = None,
    early_ends: int = 0,
    changes: tuple[Change, ...] = (),
    **row: Any,
) -> set[str]:
    reader = SdkReader([], "resp_1", Random(0), events=events, early_ends=early_ends)
    asked = Asked(ID, "demo", 0.0, restartable=False, sdk_readers=[reader])
    state = row.get("state", "completed")
    turns = [TURNS[0], ("assistant", "Hello you", state != "completed")]
    truth = Truth(resource(**row), turns, WHOLE, WHOLE, (told_by_sdk(state),), changes)
    return rules_broken(asked, truth, struck or [])


def test_what_an_sdk_must_not_see_is_seen() -> None:
    whole = told_by_sdk()
    assert broken_for_sdk(whole) == set()
    assert broken_for_sdk(whole[:3]) == {"every reader sees the end"}
    gap = {"no gap and no duplicate in the text", "a reader's text is the committed text"}
    assert gap <= broken_for_sdk([*whole[:2], whole[3]])
    assert "ids rise" in broken_for_sdk([*whole[:2], whole[1], *whole[2:]])
    assert broken_for_sdk(whole, early_ends=1) == {
        "no stream of a response ends properly before its end"
    }
    other = [whole[0], sdk_event(1, delta="Hullo "), *whole[2:]]
    assert "a reader's text is the committed text" in broken_for_sdk(other)
    assert "a reader's events are the replay's" in broken_for_sdk(other)
    assert "the terminal event is the row's" in broken_for_sdk(told_by_sdk("failed"))


def test_an_sdk_may_lack_what_was_lost_with_worker_and_data_alone() -> None:
    row: dict[str, Any] = {"state": "failed", "attempt": 2, "error": {"code": "worker_lost"}}
    shown = told_by_sdk("failed", "Hello you")
    less = [*shown[:2], sdk_event(4, "response.failed", response=shown[3].response)]
    worker = Disturbance("worker killed", 1.0, 2.0, 1, "", frozenset({"wrk_1"}), "killed")
    data = Disturbance("Redis lost", 1.0, 2.0, 1, "", loses_data=True)
    row["changes"] = stored("failed", (FIRST, (2.5, "wrk_rescuer", "worker_lost")))
    assert broken_for_sdk(shown, [worker], **row) == set()
    assert "no gap and no duplicate in the text" in broken_for_sdk(less, [worker], **row)
    assert broken_for_sdk(less, [worker, data], **row) == set()
    late = replace(data, began=3.5, ended=4.0)
    assert "no gap and no duplicate in the text" in broken_for_sdk(less, [worker, late], **row)
    assert "no new attempt while its worker lives" in broken_for_sdk(shown, [data], **row)
