"""What the model is shown of a conversation and a persona."""

from jobs.generation import Kind, State
from jobs.store.context import Context, PersonaRow, read_context
from tests.conformance.acts import Acts, change, outcome

PAIRS = (("one", "re one"), ("two", "re two"), ("three", "re three"))


async def shown(acts: Acts, conversation: str, characters: int) -> Context:
    accepted = await acts.accept(text="now", conversation_id=conversation)
    claimed = await acts.claimed(accepted.generation.id)
    context = await read_context(acts.db, claimed, history_characters=characters)
    await acts.commit(claimed, outcome("", State.CANCELLED))
    return context


async def test_a_new_chat_has_no_context(acts: Acts) -> None:
    claimed = await acts.claimed((await acts.accept()).generation.id)
    context = await read_context(acts.db, claimed, history_characters=1000)
    assert context == Context((), None)


async def test_only_the_first_of_a_conversation_of_its_own_opens_it(acts: Acts) -> None:
    first = await acts.accept()
    claimed = await acts.claimed(first.generation.id)
    assert claimed.opens
    await acts.commit(claimed, outcome("", State.FAILED))
    conversation = first.generation.conversation_id
    second = await acts.accept(conversation_id=conversation)
    # The question of one without an answer is a turn as well.
    claimed = await acts.claimed(second.generation.id)
    assert not claimed.opens
    await acts.commit(claimed, outcome("re"))
    branch = await acts.accept(follows=first.generation.id)
    assert branch.generation.conversation_id != conversation
    assert not (await acts.claimed(branch.generation.id)).opens


async def test_history_is_the_newest_pairs_within_the_limit_oldest_first(acts: Acts) -> None:
    conversation = await acts.chat(*PAIRS)
    sizes = [len(question) + len(reply) for question, reply in PAIRS]
    for kept in range(4):
        newest = sum(sizes[3 - kept :])
        assert (await shown(acts, conversation, newest)).history == PAIRS[3 - kept :]
        if kept:
            assert (await shown(acts, conversation, newest - 1)).history == PAIRS[4 - kept :]
    assert (await shown(acts, conversation, 10**9)).history == PAIRS


async def test_characters_are_code_points(acts: Acts) -> None:
    conversation = await acts.chat(("🎉é", "—🎉"))
    assert len((await shown(acts, conversation, 4)).history) == 1
    assert (await shown(acts, conversation, 3)).history == ()


async def test_partial_answers_are_shown_and_questions_without_one_are_not(acts: Acts) -> None:
    conversation = await acts.chat(("one", "re one"))
    for end in (outcome("half", State.CANCELLED), outcome("", State.FAILED)):
        accepted = await acts.accept(text="asked", conversation_id=conversation)
        await acts.run(accepted, end)
    history = (await shown(acts, conversation, 1000)).history
    assert history == (("one", "re one"), ("asked", "half"))


async def test_an_empty_answer_of_a_completed_one_is_a_pair(acts: Acts) -> None:
    conversation = await acts.chat(("one", ""))
    assert (await shown(acts, conversation, 1000)).history == (("one", ""),)


async def test_a_history_longer_than_one_read_is_whole(acts: Acts) -> None:
    pairs = tuple((f"q{number}", f"a{number}") for number in range(130))
    conversation = await acts.chat(*pairs)
    assert (await shown(acts, conversation, 10**6)).history == pairs


async def test_a_generate_sees_its_name_and_brief(acts: Acts) -> None:
    accepted = await acts.accept(Kind.GENERATE, "A kind teacher", name="Ada")
    claimed = await acts.claimed(accepted.generation.id)
    context = await read_context(acts.db, claimed, history_characters=100)
    assert claimed.persona_id is not None
    assert context.persona == PersonaRow(
        id=claimed.persona_id, name="Ada", brief="A kind teacher", version=0, files={}, skills=()
    )


async def test_a_refine_sees_all_files_and_skills_of_the_newest_version(acts: Acts) -> None:
    persona = await acts.persona(
        change({"a.md": "old", "b.md": "b"}, skills=("one",)),
        change({"a.md": "new", "c/d.md": "🎉"}, "b.md", skills=("one", "two")),
    )
    accepted = await acts.accept(Kind.REFINE, persona_id=persona)
    claimed = await acts.claimed(accepted.generation.id)
    context = await read_context(acts.db, claimed, history_characters=0)
    assert context.history == ()
    assert context.persona is not None
    assert context.persona.version == 2
    assert context.persona.files == {"a.md": "new", "c/d.md": "🎉"}
    assert context.persona.skills == ("one", "two")
