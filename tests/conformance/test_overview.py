"""An operator's overview counts what is there, by the database's own clock."""

from jobs.database import Database
from jobs.generation import Failure, State, Usage
from jobs.store.breaker_notes import Place, Rule, note_failure
from jobs.store.claims import hand_over
from jobs.store.overview import SLICE_MS, Overview, read_overview
from tests.conformance.acts import LEASE, Acts, outcome


async def seen(db: Database, window: float = 600.0) -> Overview:
    """The overview of the last minutes."""
    return await read_overview(db, lease_seconds=LEASE, window_seconds=window)


async def test_nothing_is_all_zeros(db: Database) -> None:
    found = await seen(db)
    standing = found.standing
    assert (standing.queued, standing.waiting, standing.running, standing.lost) == (0, 0, 0, 0)
    assert standing.oldest_queued_seconds == 0
    assert (found.workers, found.breakers, found.accepted, found.ended) == ((), (), {}, ())


async def test_unfinished_ones_are_queued_waiting_running_or_lost(acts: Acts) -> None:
    old = await acts.accept()
    await acts.elapse(7)
    await acts.accept()
    await acts.accept(conversation_id=old.generation.conversation_id, on_active="queue")
    running, given, silent = [(await acts.accept()).generation.id for _ in range(3)]
    await acts.worker("wrk_1")
    await acts.claimed(running)
    await acts.claimed(given)
    await acts.claimed(silent, 0, await acts.worker("wrk_2"))
    await hand_over(acts.db, given, 1)
    await acts.silence("wrk_2", LEASE + 1)
    standing = (await seen(acts.db)).standing
    assert (standing.queued, standing.waiting, standing.running, standing.lost) == (2, 1, 1, 2)
    assert 7 <= standing.oldest_queued_seconds < 30


async def test_workers_are_told_with_their_places_and_their_silence(acts: Acts) -> None:
    await acts.worker("wrk_2")
    await acts.silence("wrk_2", LEASE + 5)
    first, second = sorted((await seen(acts.db)).workers, key=lambda one: one.id)
    assert (first.id, first.alive, first.capacity, first.running) == ("wrk_1", True, 10, 0)
    assert (second.id, second.alive) == ("wrk_2", False)
    assert LEASE + 5 <= second.silent_seconds < LEASE + 30


async def test_ends_are_counted_by_slice_state_and_code(acts: Acts) -> None:
    broken = Failure("model_error", "broken", True)
    await acts.run(await acts.accept(), outcome(usage=Usage(3, 40)))
    await acts.run(await acts.accept(), outcome(usage=Usage(3, 2)))
    await acts.run(await acts.accept(), outcome(state=State.FAILED, error=broken))
    await acts.elapse(60)
    await acts.run(await acts.accept())
    found = await seen(acts.db)
    earlier = [one for one in found.ended if one.slice < found.now_ms // SLICE_MS - 3]
    # Three ends may fall to both sides of a slice's edge.
    assert sum(one.total for one in earlier if one.state == "completed") == 2
    assert sum(one.output_tokens for one in earlier) == 42
    assert [(one.code, one.total) for one in earlier if one.state == "failed"] == [
        ("model_error", 1)
    ]
    assert sum(one.total for one in found.ended) == sum(found.accepted.values()) == 4
    assert all(one.slice >= found.since_slice for one in found.ended)


async def test_what_ended_before_the_window_is_left_out(acts: Acts) -> None:
    await acts.run(await acts.accept())
    await acts.elapse(60)
    found = await seen(acts.db, window=40)
    assert (found.ended, found.accepted) == ((), {})
    assert found.since_slice == (found.now_ms - 40_000) // SLICE_MS + 1


async def test_a_failing_model_is_told_with_what_waits_for_it(acts: Acts) -> None:
    await acts.accept()
    place = Place("http://model", "m")
    await note_failure(acts.db, place, Rule(failures=1), jitter_seconds=0)
    [breaker] = (await seen(acts.db)).breakers
    assert (breaker.endpoint, breaker.model, breaker.state) == ("http://model", "m", "open")
    assert breaker.waiting == 1
