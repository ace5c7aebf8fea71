"""A thread is its owner's and its protocol's, is made once, and goes on where it is."""

import asyncio
from typing import Any

import pytest

from jobs.errors import InvalidRequest, NotFound, OverBudget
from jobs.generation import Kind, State
from jobs.store.context import read_context
from jobs.store.intake import Accepted, Budget
from jobs.store.personas import delete_persona
from jobs.store.requests import Replaces, Thread
from jobs.store.threads import read_thread, unfinished_in_thread
from tests.conformance.acts import Acts, change, outcome

MINE = Thread("ai-sdk", "my chat/É 🎉")
NEWEST = Replaces(None, newest=True)


async def ask(acts: Acts, thread: Thread = MINE, kind: Kind = Kind.CHAT, **more: Any) -> Accepted:
    return await acts.accept(kind, thread=thread, on_active="queue", **more)


async def test_a_thread_goes_on_in_the_conversation_that_its_first_request_made(acts: Acts) -> None:
    first = await ask(acts)
    await acts.run(first)
    second = await ask(acts)
    assert second.generation.conversation_id == first.generation.conversation_id
    assert (second.starts, second.generation.kind) == (True, Kind.CHAT)


async def test_each_owner_and_each_protocol_has_threads_of_its_own(acts: Acts) -> None:
    asked = [
        await ask(acts),
        await ask(acts, owner="bob"),
        await ask(acts, Thread("ag-ui", MINE.key)),
        await ask(acts, Thread("ai-sdk", "another")),
    ]
    assert len({one.generation.conversation_id for one in asked}) == 4
    for owner, thread, one in (("ann", MINE, asked[0]), ("bob", MINE, asked[1])):
        now = await read_thread(acts.db, owner, thread)
        assert now is not None
        assert now.generation == one.generation
    assert await read_thread(acts.db, "eve", MINE) is None


async def test_of_many_requests_that_make_a_thread_at_once_all_are_in_one_conversation(
    acts: Acts,
) -> None:
    asked = await asyncio.gather(*(ask(acts) for _ in range(8)))
    assert len({one.generation.conversation_id for one in asked}) == 1
    assert sum(one.starts for one in asked) == 1
    unfinished = await unfinished_in_thread(acts.db, "ann", MINE)
    assert sorted(unfinished) == sorted(one.generation.id for one in asked)


async def test_a_thread_that_made_a_persona_refines_it_whatever_else_is_asked_for(
    acts: Acts,
) -> None:
    made = await ask(acts, kind=Kind.GENERATE, name="Ada")
    await acts.run(made, outcome(change=change({"persona.md": "one"})))
    again = await ask(acts, kind=Kind.GENERATE, name="Eve")
    assert again.generation.kind is Kind.REFINE
    assert again.generation.persona_id == made.generation.persona_id
    await acts.run(again, outcome(change=change({"persona.md": "two"})))
    asked = await ask(acts, kind=Kind.CHAT)
    assert asked.generation.kind is Kind.REFINE


async def test_a_thread_may_begin_at_a_persona_that_is_there(acts: Acts) -> None:
    persona = await acts.persona(change({"persona.md": "one"}))
    asked = await ask(acts, kind=Kind.REFINE, persona_id=persona)
    await acts.run(asked)
    assert (await ask(acts)).generation.persona_id == persona
    await delete_persona(acts.db, "ann", persona)
    with pytest.raises(NotFound):
        await ask(acts)


async def test_what_is_refused_makes_no_thread(acts: Acts) -> None:
    await acts.accept()
    with pytest.raises(OverBudget):
        await ask(acts, budget=Budget(owner_generations=1))
    assert await read_thread(acts.db, "ann", MINE) is None


async def test_the_newest_request_counts_and_is_recent_until_so_long_after_its_end(
    acts: Acts,
) -> None:
    await acts.run(await ask(acts))
    newest = await ask(acts)
    await acts.elapse(30)
    now = await read_thread(acts.db, "ann", MINE)
    assert now is not None
    assert (now.generation.id, now.recent) == (newest.generation.id, True)
    await acts.run(newest)
    assert await unfinished_in_thread(acts.db, "ann", MINE) == ()
    for recent in (True, False):
        now = await read_thread(acts.db, "ann", MINE, recent_seconds=60)
        assert now is not None
        assert (now.generation.state, now.recent) == (State.COMPLETED, recent)
        await acts.elapse(61)


async def shown(acts: Acts, asked: Accepted) -> tuple[tuple[str, str], ...]:
    """The history that its model sees."""
    claimed = await acts.claimed(asked.generation.id)
    context = await read_context(acts.db, claimed, history_characters=1000)
    await acts.commit(claimed, outcome(f"to {asked.generation.input}"))
    return context.history


async def test_a_replaced_answer_is_not_shown_to_the_model_nor_gone_on_from(acts: Acts) -> None:
    await shown(acts, await ask(acts, text="one"))
    await shown(acts, await ask(acts, text="two"))
    again = await ask(acts, text="two", replaces=NEWEST)
    for last in (False, True):
        assert again.starts
        assert await shown(acts, again) == (("one", "to one"),)
        now = await read_thread(acts.db, "ann", MINE)
        assert now is not None
        assert now.generation.id == again.generation.id
        again = again if last else await ask(acts, text="two", replaces=NEWEST)
    third = await ask(acts, text="three")
    assert third.generation.conversation_id == again.generation.conversation_id
    assert await shown(acts, third) == (("one", "to one"), ("two", "to two"))


async def test_a_chats_first_answer_is_replaced_in_a_conversation_of_its_own(acts: Acts) -> None:
    first = await ask(acts, text="one", replaces=NEWEST)
    await shown(acts, first)
    again = await ask(acts, text="one", replaces=NEWEST)
    assert again.generation.conversation_id != first.generation.conversation_id
    assert await shown(acts, again) == ()
    assert await shown(acts, await ask(acts, text="two")) == (("one", "to one"),)


async def test_a_personas_answer_is_not_replaced_but_refined(acts: Acts) -> None:
    made = await ask(acts, kind=Kind.GENERATE)
    await acts.run(made, outcome(change=change({"persona.md": "one"})))
    again = await ask(acts, replaces=NEWEST)
    assert again.generation.conversation_id == made.generation.conversation_id
    assert again.generation.kind is Kind.REFINE


async def test_what_replaces_an_answer_to_one_that_is_still_given_waits_for_it(acts: Acts) -> None:
    first = await ask(acts, text="one")
    second = await ask(acts, text="two")
    again = await ask(acts, text="two", replaces=NEWEST)
    assert again.generation.conversation_id == first.generation.conversation_id
    assert not again.starts
    unfinished = await unfinished_in_thread(acts.db, "ann", MINE)
    assert unfinished == tuple(one.generation.id for one in (again, second, first))


async def test_what_takes_back_more_goes_on_from_the_answer_that_it_keeps(acts: Acts) -> None:
    asked = [await ask(acts, text="one")]
    await shown(acts, asked[0])
    for said in ("two", "three"):
        asked.append(await ask(acts, text=said))
        await shown(acts, asked[-1])
    first, second, _ = (one.generation for one in asked)
    edited = await ask(acts, text="TWO", replaces=Replaces(first.id, newest=False))
    assert await shown(acts, edited) == (("one", "to one"),)
    later = await ask(acts, text="four")
    assert later.generation.conversation_id == edited.generation.conversation_id
    assert await shown(acts, later) == (("one", "to one"), ("TWO", "to TWO"))
    # An answer from before the branch may be kept as well, and so may none at all.
    again = await ask(acts, text="II", replaces=Replaces(first.id, newest=True))
    assert await shown(acts, again) == (("one", "to one"),)
    anew = await ask(acts, text="ONE", replaces=Replaces("", newest=False))
    assert await shown(acts, anew) == ()
    assert await shown(acts, await ask(acts, text="five")) == (("ONE", "to ONE"),)
    # That one is no answer of the chat's any more: nothing is taken back for it.
    stale = await ask(acts, text="six", replaces=Replaces(second.id, newest=False))
    assert await shown(acts, stale) == (("ONE", "to ONE"), ("five", "to five"))


async def test_no_answer_of_another_chat_or_owner_is_gone_on_from(acts: Acts) -> None:
    history = [("one", "to one")]
    await shown(acts, await ask(acts, text="one"))
    for number, other in enumerate((
        await ask(acts, Thread("ai-sdk", "another"), text="secret"),
        await ask(acts, owner="bob", text="secret"),
    )):  # fmt: skip
        await shown(acts, other)
        replaces = Replaces(other.generation.id, newest=False)
        asked = await ask(acts, text=str(number), replaces=replaces)
        assert await shown(acts, asked) == tuple(history)
        instead = Replaces(other.generation.id, newest=True)
        assert await shown(acts, await ask(acts, text="II", replaces=instead)) == tuple(history)
        history.append(("II", "to II"))


async def test_an_answer_that_is_still_given_is_kept_by_waiting_for_it(acts: Acts) -> None:
    first = await ask(acts, text="one")
    asked = await ask(acts, text="two", replaces=Replaces(first.generation.id, newest=False))
    assert asked.generation.conversation_id == first.generation.conversation_id
    assert not asked.starts


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", "\ud800"])
async def test_a_name_that_cannot_be_kept_is_refused(acts: Acts, key: str) -> None:
    with pytest.raises(InvalidRequest, match="threadId"):
        await ask(acts, Thread("ag-ui", key, "threadId"))
