"""A generation may go on from any other: in its conversation, or in one that branches off there."""

import pytest
from sqlalchemy import text

from jobs.errors import GenerationActive, InvalidRequest, NotFound
from jobs.generation import Kind, State
from jobs.store.context import read_context
from jobs.store.intake import Accepted
from jobs.store.reads import read_conversation
from tests.conformance.acts import Acts, change, outcome

Pairs = tuple[tuple[str, str], ...]


async def said(acts: Acts, text: str, *, follows: Accepted | None = None) -> Accepted:
    """A chat that goes on from this one, and was answered."""
    accepted = await acts.accept(
        text=text, follows=None if follows is None else follows.generation.id
    )
    await acts.run(accepted, outcome(f"re {text}"))
    return accepted


async def history(acts: Acts, follows: Accepted, characters: int = 1000) -> Pairs:
    """What the model would be shown before an answer that goes on from there."""
    accepted = await acts.accept(text="?", follows=follows.generation.id)
    claimed = await acts.claimed(accepted.generation.id)
    shown = await read_context(acts.db, claimed, history_characters=characters)
    await acts.commit(claimed, outcome("", State.CANCELLED))
    return shown.history


async def test_the_newest_is_followed_in_its_conversation(acts: Acts) -> None:
    first = await said(acts, "a")
    second = await said(acts, "b", follows=first)
    assert second.generation.conversation_id == first.generation.conversation_id
    assert await history(acts, second) == (("a", "re a"), ("b", "re b"))


async def test_an_older_one_is_followed_in_a_conversation_that_branches_off(acts: Acts) -> None:
    a = await said(acts, "a")
    b = await said(acts, "b", follows=a)
    await said(acts, "c", follows=b)
    other = await said(acts, "d", follows=b)
    assert other.generation.conversation_id != a.generation.conversation_id
    assert await history(acts, other) == (("a", "re a"), ("b", "re b"), ("d", "re d"))
    conversation = await read_conversation(acts.db, "ann", other.generation.conversation_id)
    assert [turn.text for turn in conversation.turns][:2] == ["d", "re d"]
    again = await said(acts, "e", follows=a)
    deep = await said(acts, "f", follows=again)
    assert await history(acts, deep) == (("a", "re a"), ("e", "re e"), ("f", "re f"))


async def test_a_branch_of_a_branch_has_all_that_led_there(acts: Acts) -> None:
    a = await said(acts, "a")
    await said(acts, "b", follows=a)
    branch = await said(acts, "c", follows=a)
    await said(acts, "d", follows=branch)
    twig = await said(acts, "e", follows=branch)
    assert await history(acts, twig) == (("a", "re a"), ("c", "re c"), ("e", "re e"))
    assert await history(acts, twig, characters=12) == (("c", "re c"), ("e", "re e"))


async def test_one_without_an_answer_is_followed_by_what_led_there(acts: Acts) -> None:
    a = await said(acts, "a")
    conversation = a.generation.conversation_id
    unanswered = await acts.accept(text="b", follows=a.generation.id)
    never_began = await acts.accept(text="c", conversation_id=conversation, on_active="queue")
    later = await acts.accept(text="d", conversation_id=conversation, on_active="interrupt")
    # The database's clock counts milliseconds, and all this took less.
    await acts.db.write_one(text("UPDATE turns SET created_at = created_at + 9 WHERE text = 'd'"))
    await acts.run(later, outcome("re d"))
    for one in (unanswered, never_began):
        assert await history(acts, one) == (("a", "re a"),)


async def test_one_that_runs_can_not_be_followed_yet(acts: Acts) -> None:
    first = await acts.accept()
    with pytest.raises(GenerationActive) as refused:
        await acts.accept(follows=first.generation.id)
    assert refused.value.generation_id == first.generation.id
    await acts.accept(conversation_id=first.generation.conversation_id, on_active="queue")
    with pytest.raises(GenerationActive) as refused:
        await acts.accept(follows=first.generation.id)
    assert refused.value.generation_id == first.generation.id


async def test_only_an_owners_own_can_be_followed(acts: Acts) -> None:
    foreign = await acts.accept(owner="bob")
    for unknown in (foreign.generation.id, "gen_x"):
        with pytest.raises(NotFound):
            await acts.accept(follows=unknown)
    with pytest.raises(InvalidRequest, match="follows"):
        await acts.accept(follows="gen_x", conversation_id="con_x")


async def test_a_persona_is_continued_from_its_newest_only(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, "a brief", name="Ann")
    await acts.run(made, outcome(change=change({"a.md": "a"})))
    persona = made.generation.persona_id
    refined = await acts.accept(Kind.REFINE, "more", persona_id=persona, follows=made.generation.id)
    assert refined.generation.conversation_id == made.generation.conversation_id
    await acts.run(refined)
    with pytest.raises(InvalidRequest, match="newest"):
        await acts.accept(Kind.REFINE, "x", persona_id=persona, follows=made.generation.id)
    with pytest.raises(InvalidRequest, match="persona"):
        await acts.accept(Kind.CHAT, "x", follows=refined.generation.id)
