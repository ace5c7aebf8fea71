"""The end of a generation: everything of it in one transaction, or nothing."""

import asyncio
import random
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.errors import NotFound
from jobs.generation import Failure, FileChange, Kind, SkillChoice, State, Usage
from jobs.store.claims import hand_over
from jobs.store.commits import commit, request_cancel
from jobs.store.line import promote
from jobs.store.personas import delete_persona, read_persona
from jobs.store.reads import read_conversation, read_generation, read_replay_source
from tests.conformance.acts import Acts, change, outcome

FILES = (FileChange("a.md", "write", 3, "f" * 64), FileChange("b.md", "delete", 0, ""))
SKILLS = (SkillChoice("plain", "plain-language", 0.91), SkillChoice("juggling", None, 0.2))


async def test_a_commit_gives_the_resource_that_is_read_afterwards(acts: Acts) -> None:
    accepted = await acts.accept(text="hello")
    done = await acts.run(accepted, outcome("hé 🎉", usage=Usage(7, 5), files=FILES, skills=SKILLS))
    one = done.generation
    assert (one.state, one.usage, one.error) == (State.COMPLETED, Usage(7, 5), None)
    assert one.output is not None
    assert (one.output.text, one.output.characters) == ("hé 🎉", 4)
    assert (one.output.finish_reason, one.output.persona_version) == ("stop", None)
    assert (one.output.files, one.output.skills) == (FILES, SKILLS)
    assert one.started_at is not None
    assert one.finished_at is not None
    assert one == await read_generation(acts.db, "ann", one.id)
    source = await read_replay_source(acts.db, one.id)
    assert (source.text, source.timeline) == ("hé 🎉", b"timeline")
    assert (source.last_seq, source.last_offset) == (3, 4)


@pytest.mark.parametrize(
    ("state", "said", "turns"),
    [
        (State.COMPLETED, "whole", [("assistant", "whole", False)]),
        (State.COMPLETED, "", [("assistant", "", False)]),
        (State.FAILED, "half", [("assistant", "half", True)]),
        (State.CANCELLED, "half", [("assistant", "half", True)]),
        (State.FAILED, "", []),
        (State.CANCELLED, "", []),
    ],
)
async def test_the_answer_becomes_a_turn_where_there_is_one(
    acts: Acts, state: State, said: str, turns: list[tuple[str, str, bool]]
) -> None:
    accepted = await acts.accept()
    done = await acts.run(accepted, outcome(said, state))
    shown = await read_conversation(acts.db, "ann", done.generation.conversation_id)
    assert [(one.role, one.text, one.partial) for one in shown.turns[1:]] == turns
    assert shown.active_generation is None
    assert (done.generation.output is not None) == bool(turns)


async def test_a_failure_keeps_its_reason_and_its_partial_output(acts: Acts) -> None:
    error = Failure("model_timeout", "the model was silent", True)
    done = await acts.run(await acts.accept(), outcome("half", State.FAILED, error=error))
    assert done.generation.error == error
    assert done.generation.output is not None
    assert done.generation.output.text == "half"


async def test_an_older_attempt_is_fenced_off_and_changes_nothing(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, name="Ada")
    one = made.generation.id
    await acts.claimed(one)
    await hand_over(acts.db, one, 1)
    newer = await acts.claimed(one, 1)
    stale = outcome("stale", change=change({"a.md": "stale"}))
    assert await commit(acts.db, one, 1, stale) is None
    assert await commit(acts.db, one, 3, stale) is None
    assert await commit(acts.db, "gen_unknown", 1, stale) is None
    assert (await read_persona(acts.db, "ann", str(newer.persona_id))).version == 0
    done = await acts.commit(newer, outcome("fresh"))
    assert done.generation.output is not None
    assert done.generation.output.text == "fresh"
    assert await commit(acts.db, one, 2, stale) is None


async def test_a_newer_attempts_like_end_is_not_taken_for_the_own_one(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    await hand_over(acts.db, one, 1)
    newer = await acts.claimed(one, 1)
    await acts.commit(newer, outcome("fresh"))
    assert await commit(acts.db, one, 1, outcome("stale"), may_be_stored=True) is None
    stored = await commit(acts.db, one, 2, outcome("fresh"), may_be_stored=True)
    assert stored is not None
    assert stored.generation.attempt == 2


async def test_a_change_makes_the_next_version(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, name="Ada")
    persona = str(made.generation.persona_id)
    first = await acts.run(
        made, outcome(change=change({"a.md": "é", "b.md": "b"}, skills=("s",), card={"n": 1}))
    )
    assert first.generation.output is not None
    assert first.generation.output.persona_version == 1
    again = await acts.accept(Kind.REFINE, persona_id=persona)
    second = await acts.run(again, outcome(change=change({"a.md": "aa"}, "b.md", card={"n": 2})))
    assert second.generation.output is not None
    assert second.generation.output.persona_version == 2
    shown = await read_persona(acts.db, "ann", persona)
    assert (shown.version, shown.skills, shown.derived) == (2, (), {"card": {"n": 2}})
    assert [(file.path, file.bytes) for file in shown.files] == [("a.md", 2)]


async def test_a_refine_in_text_only_makes_no_version(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "a"}))
    done = await acts.run(await acts.accept(Kind.REFINE, persona_id=persona), outcome("well"))
    assert done.generation.output is not None
    assert done.generation.output.persona_version is None
    assert (await read_persona(acts.db, "ann", persona)).version == 1


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
async def test_what_did_not_complete_changes_no_persona(acts: Acts, state: State) -> None:
    persona = await acts.persona(change({"a.md": "a"}))
    again = await acts.accept(Kind.REFINE, persona_id=persona)
    await acts.run(again, outcome("half", state, change=change({"a.md": "b"})))
    shown = await read_persona(acts.db, "ann", persona)
    assert (shown.version, shown.files[0].bytes) == (1, 1)


async def test_a_deleted_persona_gets_no_version_and_its_generation_ends(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "a"}))
    again = await acts.claimed((await acts.accept(Kind.REFINE, persona_id=persona)).generation.id)
    assert (await delete_persona(acts.db, "ann", persona)).stopping == (again.id,)
    done = await acts.commit(again, outcome(change=change({"a.md": "b"})))
    assert done.generation.state is State.COMPLETED
    assert done.generation.output is not None
    assert done.generation.output.persona_version is None
    versions = await acts.db.fetch(text("SELECT version FROM persona_versions"))
    assert [row[0] for row in versions] == [1]


async def test_an_error_in_a_commit_stores_nothing_of_it(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, name="Ada")
    claimed = await acts.claimed(made.generation.id)
    too_long = change({"a.md": "a", "b.md": "\ud800"})
    with pytest.raises(UnicodeEncodeError):
        await commit(acts.db, claimed.id, 1, outcome(change=too_long))
    assert (await read_generation(acts.db, "ann", claimed.id)).state is State.RUNNING
    shown = await read_conversation(acts.db, "ann", claimed.conversation_id)
    assert len(shown.turns) == 1
    assert await acts.db.fetch(text("SELECT * FROM persona_files")) == []
    await acts.commit(claimed)


async def test_a_word_too_long_for_its_column_is_cut_not_refused(acts: Acts) -> None:
    claimed = await acts.claimed((await acts.accept()).generation.id)
    error = Failure("c" * 100, "m" * 10_000, False)
    done = await acts.commit(claimed, outcome("x", State.FAILED, error=error))
    assert done.generation.error == Failure("c" * 64, "m" * 10_000, False)


async def test_what_never_ran_ends_with_the_event_0_2_0(acts: Acts) -> None:
    accepted = await acts.accept()
    done = await request_cancel(acts.db, "ann", accepted.generation.id)
    assert (done.generation.state, done.generation.attempt) == (State.CANCELLED, 0)
    assert done.generation.started_at is None
    source = await read_replay_source(acts.db, accepted.generation.id)
    assert (source.last_seq, source.last_offset, source.timeline) == (2, 0, None)
    again = await request_cancel(acts.db, "ann", accepted.generation.id)
    assert (again.ended_now, again.generation) == (False, done.generation)


async def test_a_cancellation_is_asked_of_the_owners_generations_only(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    for owner, wanted in (("bob", one), ("ann", "gen_unknown"), (None, "gen_unknown")):
        with pytest.raises(NotFound):
            await request_cancel(acts.db, owner, wanted)
    assert (await request_cancel(acts.db, None, one)).ended_now
    again = await request_cancel(acts.db, "ann", one)
    assert (again.ended_now, again.generation.state) == (False, State.CANCELLED)


async def test_a_cancellation_leaves_what_has_ended_as_it_is(acts: Acts) -> None:
    done = await acts.run(await acts.accept())
    asked = await request_cancel(acts.db, "ann", done.generation.id)
    assert asked.generation == done.generation


async def test_a_commit_whose_caller_is_cancelled_is_never_half_known(acts: Acts) -> None:
    """At whatever point the cancellation falls, the row tells a whole outcome or none."""
    chance = random.Random(11)
    committed = 0
    for _ in range(40):
        made = await acts.accept(Kind.GENERATE, name="Ada")
        claimed = await acts.claimed(made.generation.id)
        end = outcome("all of it", change=change({"a.md": "a"}))
        task = asyncio.create_task(commit(acts.db, claimed.id, 1, end))
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.random() * 0.004)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stored = await read_generation(acts.db, "ann", claimed.id)
        persona = await read_persona(acts.db, "ann", str(claimed.persona_id))
        turns = (await read_conversation(acts.db, "ann", claimed.conversation_id)).turns
        whole = stored.state is State.COMPLETED
        committed += whole
        assert (persona.version, len(turns)) == ((1, 2) if whole else (0, 1))
        if not whole:
            await acts.commit(claimed, end)
    assert committed > 0


async def test_a_cancelled_caller_is_told_only_after_its_commit_has_ended(
    acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is cancelled while the transaction is open."""
    loop, reached, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    async def held(connection: AsyncConnection, conversation_id: str) -> str | None:
        loop.call_soon_threadsafe(reached.set)
        # SQLite's work runs in its own thread, and awaits nothing.
        sqlite = connection.dialect.name == "sqlite"
        assert go_on.wait(10) if sqlite else await asyncio.to_thread(go_on.wait, 10)
        return await promote(connection, conversation_id)

    monkeypatch.setattr("jobs.store.commits.promote", held)
    claimed = await acts.claimed((await acts.accept()).generation.id)
    committing = asyncio.create_task(commit(acts.db, claimed.id, 1, outcome("all of it")))
    try:
        async with asyncio.timeout(10):
            await reached.wait()
        for _ in range(3):
            committing.cancel()
            await asyncio.wait([committing], timeout=0.02)
        assert not committing.done()
        assert (await read_generation(acts.db, "ann", claimed.id)).state is State.RUNNING
    finally:
        go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert (await read_generation(acts.db, "ann", claimed.id)).state is State.COMPLETED


async def test_turns_stay_dense_and_in_order_under_concurrency(acts: Acts) -> None:
    conversation = await acts.chat(("0", "re 0"))
    made = await asyncio.gather(
        *(
            acts.accept(text=f"{n}", conversation_id=conversation, on_active="queue")
            for n in range(1, 6)
        )
    )
    for _ in made:
        shown = await read_conversation(acts.db, "ann", conversation)
        assert shown.active_generation is not None
        await asyncio.gather(
            acts.commit(await acts.claimed(shown.active_generation.id)),
            acts.accept(conversation_id=conversation, on_active="queue"),
        )
    rows = await acts.db.fetch(
        text("SELECT position, role, generation_id FROM turns ORDER BY position")
    )
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    for user, assistant in zip(rows[::2], rows[1::2], strict=False):
        assert (user.role, assistant.role) == ("user", "assistant")
        assert user.generation_id == assistant.generation_id
