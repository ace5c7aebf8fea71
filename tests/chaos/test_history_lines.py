"""The checker knows what must hold of a conversation in which more is said before it is quiet."""

from collections.abc import Sequence
from typing import Any

from tests.chaos.changes import Change
from tests.chaos.lines import Line, Refusal, line_violations
from tests.chaos.records import Asked, OnActive

CONVERSATION = "con_1"
ACTIVE = {"code": "generation_active", "generation_id": "gen_a"}
WAITS = "it waits where another is active, and else not"
ORDER = "what waits runs in order, after what was before it"
STORED = "what was accepted is stored, and nothing else"


def row(
    at: float,
    name: str,
    state: str = "queued",
    *,
    active: bool = True,
    attempt: int | None = None,
    cancelled: bool = False,
) -> Change:
    begun = int(state != "queued") if attempt is None else attempt
    id_ = f"gen_{name}"
    return Change(id_, CONVERSATION, at, state, begun, active, "wrk_1", None, cancelled)


def over(at: float, name: str, state: str = "completed", **more: Any) -> Change:
    return row(at, name, state, active=False, **more)


FIRST = [row(0.0, "a"), row(0.1, "a", "running")]
QUEUED = [
    *FIRST,
    row(1.0, "b", active=False),
    row(1.5, "c", active=False),
    over(2.0, "a"),
    row(2.0, "b"),
    row(2.1, "b", "running"),
    over(3.0, "b"),
    row(3.0, "c"),
    row(3.1, "c", "running"),
    over(4.0, "c"),
]


def shown(*turns: str, **more: Any) -> dict[str, Any]:
    """A conversation; `a` stands for the turn of gen_a's user, `A` for its answer."""
    told = [
        {"generation_id": f"gen_{one.lower()}", "role": "user" if one.islower() else "assistant"}
        for one in turns
    ]
    return {"turns": told, "active_generation": None, "waiting": [], **more}


def broken(
    changes: Sequence[Change],
    said: dict[str, Any],
    refusals: Sequence[Refusal] = (),
    **modes: OnActive,
) -> set[str]:
    """The rules that are broken, where these were accepted beside gen_a."""
    accepted: dict[str, OnActive] = {"a": "reject", **modes}
    asked = [Asked(f"gen_{one}", "demo", 0.0, on_active=mode) for one, mode in accepted.items()]
    found = line_violations(Line(CONVERSATION, asked, list(refusals)), changes, said)
    return {one.rule for one in found}


def test_what_waits_in_order_and_runs_after_the_other_breaks_nothing() -> None:
    said = shown("a", "A", "b", "B", "c", "C")
    assert broken(QUEUED, said, b="queue", c="queue") == set()


def test_two_that_are_active_or_run_at_once_are_seen() -> None:
    both = [*FIRST, row(1.0, "b"), row(1.1, "b", "running"), over(2.0, "a"), over(3.0, "b")]
    said = shown("a", "A", "b", "B")
    assert broken(both, said, b="queue") == {WAITS, ORDER, "one active generation a conversation"}
    beside = [
        *FIRST,
        row(1.0, "b", active=False),
        row(1.1, "b", "running", active=False),
        over(2.0, "a"),
        over(3.0, "b"),
    ]
    assert "only the active one runs" in broken(beside, said, b="queue")


def test_one_that_waits_for_nobody_is_seen() -> None:
    alone = [*FIRST, over(1.0, "a"), row(2.0, "b", active=False), row(2.1, "b"), over(3.0, "b")]
    assert broken(alone, shown("a", "A", "b", "B"), b="queue") == {WAITS}


def test_one_that_runs_before_another_that_waited_longer_is_seen() -> None:
    jumped = [
        *QUEUED[:5],
        row(2.0, "c"),
        row(2.1, "c", "running"),
        over(3.0, "c"),
        row(3.0, "b"),
        row(3.1, "b", "running"),
        over(4.0, "b"),
    ]
    turns = shown("a", "A", "c", "C", "b", "B")
    assert broken(jumped, turns, b="queue", c="queue") == {ORDER}
    # Both came in the same millisecond or so: nobody can tell who was first.
    together = [*jumped[:2], row(1.499, "b", active=False), *jumped[3:]]
    assert broken(together, turns, b="queue", c="queue") == set()


def test_turns_in_another_order_and_a_turn_of_one_that_never_became_active_are_seen() -> None:
    order = "turns come in the order of their generations"
    assert broken(QUEUED, shown("a", "A", "c", "C", "b", "B"), b="queue", c="queue") == {order}
    assert broken(QUEUED, shown("a", "b", "A", "B", "c", "C"), b="queue", c="queue") >= {order}
    user_first = "a user's turn comes before its answer"
    assert broken(QUEUED, shown("A", "a", "b", "c"), b="queue", c="queue") == {user_first}
    cancelled = over(1.5, "b", "cancelled", attempt=0)
    never = [*FIRST, row(1.0, "b", active=False), cancelled, over(2.0, "a")]
    assert broken(never, shown("a", "A"), b="queue") == set()
    assert broken(never, shown("a", "A", "b"), b="queue") == {order}


def test_a_conversation_that_is_never_quiet_is_seen() -> None:
    quiet = "nobody waits or is active when all have ended"
    said = shown("a", "A", "b", "B", "c", "C", active_generation={"id": "gen_c"})
    assert broken(QUEUED, said, b="queue", c="queue") == {quiet}
    said = shown("a", "A", "b", "B", "c", "C", waiting=[{"id": "gen_c"}])
    assert broken(QUEUED, said, b="queue", c="queue") == {quiet}


def test_one_that_is_accepted_beside_an_active_one_without_asking_to_wait_is_seen() -> None:
    rule = "nothing is accepted beside an active one that did not ask for it"
    said = shown("a", "A", "b", "B", "c", "C")
    assert broken(QUEUED, said, b="reject", c="queue") == {rule}


def refused(at: float, status: int = 409, unsure: bool = False, **problem: str) -> Refusal:
    return Refusal(at, at + 0.1, status, {**ACTIVE, **problem}, unsure)


def test_a_refusal_names_the_one_that_was_active_then() -> None:
    ended = [*FIRST, over(2.0, "a")]
    names = "a refusal names the one that was active"
    for at, rules in ((1.0, set()), (1.99, set()), (2.5, {names}), (-1.0, {names})):
        assert broken(ended, shown("a", "A"), [refused(at)]) == rules
    assert broken(ended, shown("a", "A"), [refused(1.0, generation_id="gen_z")]) == {names}
    told = "who may not wait is told of the active one"
    assert broken(ended, shown("a", "A"), [refused(1.0, code="unavailable")]) == {told}
    assert broken(ended, shown("a", "A"), [refused(1.0, status=422)]) == {told}


def test_what_was_refused_is_not_stored_and_what_was_accepted_is() -> None:
    later = [row(2.5, "b"), row(2.6, "b", "running"), over(3.0, "b")]
    stored, said = [*FIRST, over(2.0, "a"), *later], shown("a", "A", "b", "B")
    assert broken(stored, said, [refused(1.0)]) == {STORED}
    # The first try came late, when nobody waited for its answer any more.
    assert broken(stored, said, [refused(1.0, unsure=True)]) == set()
    assert broken([*FIRST, over(2.0, "a")], shown("a", "A"), b="queue") == {STORED}


def test_who_interrupts_cancels_the_active_one_and_all_that_wait() -> None:
    rule = "who interrupts cancels all that is before it"
    before = [*FIRST, row(0.5, "b", active=False)]
    cleared = [over(1.0, "b", "cancelled", attempt=0), row(1.0, "a", "running", cancelled=True)]
    after = [
        row(1.0, "c", active=False),
        over(1.5, "a", "cancelled", cancelled=True),
        row(1.5, "c"),
        row(1.6, "c", "running"),
        over(2.0, "c"),
    ]
    said = shown("a", "A", "c", "C")
    assert broken([*before, *cleared, *after], said, b="queue", c="interrupt") == set()
    for left in (cleared[:1], cleared[1:]):
        assert rule in broken([*before, *left, *after], said, b="queue", c="interrupt")
