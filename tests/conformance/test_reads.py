"""What readers are shown, and of whom."""

import pytest

from jobs.errors import InvalidRequest, NotFound
from jobs.generation import Failure, Kind, State
from jobs.ids import new_id
from jobs.store.claims import hand_over
from jobs.store.commits import request_cancel
from jobs.store.personas import delete_persona
from jobs.store.reads import (
    list_active,
    list_generations,
    read_conversation,
    read_generation,
    read_owners,
    read_replay_source,
    read_stream_row,
)
from jobs.store.standings import AT_WORK, Standing, read_unusual
from tests.conformance.acts import LEASE, Acts, change, outcome


async def test_a_generation_is_its_owners_alone(acts: Acts) -> None:
    one = (await acts.accept()).generation
    assert await read_generation(acts.db, "ann", one.id) == one
    assert await read_generation(acts.db, None, one.id) == one
    for owner, wanted in (("bob", one.id), ("ann", "gen_unknown"), (None, "gen_unknown")):
        with pytest.raises(NotFound):
            await read_generation(acts.db, owner, wanted)


async def test_pages_give_every_generation_once_newest_first(acts: Acts) -> None:
    made = [(await acts.accept()).generation.id for _ in range(7)]
    await acts.accept(owner="bob")
    seen: list[str] = []
    cursor = None
    while True:
        page = await list_generations(acts.db, "ann", limit=3, cursor=cursor)
        seen += [one.id for one in page.data]
        # What comes in meanwhile is newer, and moves no page.
        await acts.accept(generation_id=new_id("gen"))
        if (cursor := page.next_cursor) is None:
            break
    assert seen == sorted(made, reverse=True)


async def test_a_page_that_is_exactly_full_is_the_last(acts: Acts) -> None:
    for _ in range(3):
        await acts.accept()
    page = await list_generations(acts.db, "ann", limit=3)
    assert (len(page.data), page.next_cursor) == (3, None)
    assert (await list_generations(acts.db, "bob")).data == ()


async def test_lists_are_narrowed_to_a_persona_or_to_none(acts: Acts) -> None:
    chat = (await acts.accept()).generation
    own = (await acts.accept(Kind("keeping"))).generation
    made = [(await acts.accept(Kind.GENERATE, name="Ann")).generation for _ in range(2)]
    await acts.accept(owner="bob")
    expected = {"none": [own, chat], made[0].persona_id: [made[0]], "per_unknown": []}
    for persona_id, those in expected.items():
        page = await list_generations(acts.db, "ann", persona_id=persona_id)
        assert [one.id for one in page.data] == [one.id for one in those]
    both = await list_generations(acts.db, "ann", kind=Kind.CHAT, persona_id="none")
    assert [one.id for one in both.data] == [chat.id]


async def test_lists_are_narrowed_by_state_and_kind(acts: Acts) -> None:
    chat = await acts.accept()
    done = await acts.run(await acts.accept(Kind.GENERATE))
    queued = await list_generations(acts.db, "ann", State.QUEUED)
    assert [one.id for one in queued.data] == [chat.generation.id]
    made = await list_generations(acts.db, "ann", None, Kind.GENERATE)
    assert made.data == (done.generation,)
    assert (await list_generations(acts.db, "ann", State.QUEUED, Kind.GENERATE)).data == ()
    assert len((await list_generations(acts.db, None)).data) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "gen_01J00000000000000000000000"}, "cursor"),
        ({"cursor": ""}, "cursor"),
    ],
)
async def test_a_list_refuses_what_it_cannot_take(
    acts: Acts, fields: dict[str, int], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await list_generations(acts.db, "ann", **fields)  # type: ignore[arg-type]
    assert refused.value.field == field


async def test_the_active_are_those_that_have_not_ended_in_order(acts: Acts) -> None:
    first = await acts.accept()
    conversation = first.generation.conversation_id
    waiting = await acts.accept(conversation_id=conversation, on_active="queue")
    await acts.run(await acts.accept())
    running = await acts.accept()
    await acts.claimed(running.generation.id)
    await acts.accept(owner="bob")
    shown = await list_active(acts.db, "ann")
    expected = [one.generation.id for one in (first, waiting, running)]
    assert [one.id for one in shown] == expected
    assert [one.state for one in shown] == [State.QUEUED, State.QUEUED, State.RUNNING]


async def test_a_stream_row_tells_where_a_generation_and_its_worker_are(acts: Acts) -> None:
    one = (await acts.accept()).generation.id

    async def seen() -> tuple[State, int, int | None, int | None, str]:
        row = await read_stream_row(acts.db, one, lease_seconds=LEASE)
        assert row is not None
        assert (row.id, row.owner) == (one, "ann")
        return row.state, row.attempt, row.last_seq, row.last_offset, row.worker

    assert await seen() == (State.QUEUED, 0, None, None, "none")
    await acts.claimed(one)
    assert await seen() == (State.RUNNING, 1, None, None, "alive")
    await acts.silence("wrk_1", LEASE + 1)
    assert await seen() == (State.RUNNING, 1, None, None, "lost")
    second = await acts.claimed(one, 1, await acts.worker("wrk_2"))
    assert await seen() == (State.RUNNING, 2, None, None, "alive")
    await acts.commit(second, outcome("hello"))
    assert await seen() == (State.COMPLETED, 2, 3, 5, "none")
    assert await read_stream_row(acts.db, "gen_unknown", lease_seconds=LEASE) is None


async def test_what_stands_unusually_is_told_as_its_row_has_it_and_the_rest_is_at_work(
    acts: Acts,
) -> None:
    made = [(await acts.accept(owner=owner)).generation.id for owner in ("ann", "bob") * 7]
    _, run, given_back, taken_over, ended, lost, twice = made[:7]
    await acts.worker("wrk_2")
    for one in (run, given_back, taken_over, lost, twice, *made[7:]):
        await acts.claimed(one, worker="wrk_2")
    await hand_over(acts.db, given_back, 1)
    await hand_over(acts.db, taken_over, 1)
    await acts.claimed(taken_over, 1, "wrk_2")
    await acts.commit(await acts.claimed(ended, worker="wrk_2"), outcome("hello"))
    await hand_over(acts.db, lost, 1)
    await acts.claimed(lost, 1, "wrk_1")
    await acts.silence("wrk_1", LEASE + 1)
    strange = ["gen_unknown", 'a"b', "é"] + [new_id("gen") for _ in range(1200)]
    told = await read_unusual(acts.db, [*made, *made, *strange], lease_seconds=LEASE)
    assert {one for one in told if told[one] is None} == set(strange)
    assert set(made) - set(told) == {run, twice, *made[7:]}
    for one in made:
        row = await read_stream_row(acts.db, one, lease_seconds=LEASE)
        assert row is not None
        assert told.get(one, AT_WORK) == Standing(row.state, row.attempt, row.worker)
    await acts.silence("wrk_2", LEASE + 1)
    told = await read_unusual(acts.db, [run], lease_seconds=LEASE)
    assert told == {run: Standing(State.RUNNING, 1, "lost")}
    assert await read_unusual(acts.db, [], lease_seconds=LEASE) == {}


async def test_owners_are_told_of_any_number_of_generations(acts: Acts) -> None:
    made = {(await acts.accept(owner=one)).generation.id: one for one in ("ann", "bob", "ann")}
    assert await read_owners(acts.db, [*made, *made, "gen_unknown", 'a"b']) == made
    assert await read_owners(acts.db, []) == {}


async def test_a_replay_source_of_a_running_one_has_no_end(acts: Acts) -> None:
    one = (await acts.accept()).generation.id
    await acts.claimed(one)
    source = await read_replay_source(acts.db, one)
    assert (source.text, source.timeline, source.last_seq) == ("", None, None)
    with pytest.raises(NotFound):
        await read_replay_source(acts.db, "gen_unknown")


async def test_a_failed_one_without_text_keeps_its_timeline(acts: Acts) -> None:
    error = Failure("no_files", "no file was valid", True)
    done = await acts.run(await acts.accept(), outcome("", State.FAILED, error=error))
    source = await read_replay_source(acts.db, done.generation.id)
    assert (source.generation.output, source.timeline) == (None, b"timeline")


async def test_a_conversation_shows_turns_the_active_one_and_those_that_wait(acts: Acts) -> None:
    conversation = await acts.chat(("one", "re one"))
    active = await acts.accept(text="two", conversation_id=conversation)
    waiting = [
        await acts.accept(text=said, conversation_id=conversation, on_active="queue")
        for said in ("three", "four")
    ]
    await acts.claimed(active.generation.id)
    shown = await read_conversation(acts.db, "ann", conversation)
    assert (shown.id, shown.persona_id) == (conversation, None)
    assert [(turn.role, turn.text) for turn in shown.turns] == [
        ("user", "one"), ("assistant", "re one"), ("user", "two"),
    ]  # fmt: skip
    assert shown.active_generation is not None
    assert shown.active_generation.id == active.generation.id
    assert shown.active_generation.state is State.RUNNING
    assert [one.id for one in shown.waiting] == [one.generation.id for one in waiting]
    await request_cancel(acts.db, "ann", waiting[0].generation.id)
    shown = await read_conversation(acts.db, "ann", conversation)
    assert [one.id for one in shown.waiting] == [waiting[1].generation.id]


async def test_a_conversation_is_its_owners_and_goes_with_its_persona(acts: Acts) -> None:
    persona = await acts.persona(change({"a.md": "a"}))
    one = (await list_generations(acts.db, "ann")).data[0]
    shown = await read_conversation(acts.db, "ann", one.conversation_id)
    assert shown.persona_id == persona
    for owner, wanted in (("bob", one.conversation_id), ("ann", "con_unknown")):
        with pytest.raises(NotFound):
            await read_conversation(acts.db, owner, wanted)
    await delete_persona(acts.db, "ann", persona)
    with pytest.raises(NotFound):
        await read_conversation(acts.db, "ann", one.conversation_id)
    # Its generations stay readable: their streams still have an end to tell.
    assert await read_generation(acts.db, "ann", one.id) == one
