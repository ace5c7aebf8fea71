"""An application's kind, from enqueue to what it keeps, by real workers with the scripted model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.finish import Ending, journal_record
from jobs.generation import Kind, State
from jobs.journal import JournalRecord
from jobs.kinds import Kinds
from jobs.measures import Measures
from jobs.pending_ends import PendingEnds
from jobs.publisher import open_publisher
from jobs.settings import InvalidSetting
from jobs.store.claims import claim, register_worker
from jobs.store.commits import Outcome
from jobs.worker_journals import open_own_journal, replay_journals
from tests.jobs.at_work import OWNER, Work, at_work, names_of
from tests.jobs.journal_samples import written
from tests.jobs.sample_kinds import KINDS, SETTING, kept_rows, make_table
from tests.services import eventually


@pytest.fixture
async def work(redis_url: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Work]:
    """A place of work, where the application's kinds are known and nobody is hired yet."""
    async with at_work(redis_url, sqlite_url, tmp_path, relay_kinds=SETTING) as work:
        await make_table(work.db)
        yield work


async def test_its_prompt_is_asked_and_its_answer_is_kept(work: Work) -> None:
    await work.hire()
    first = await work.ended(await work.ask("once", Kind("keeping"), model="demo-fast-echo"))
    second = await work.ask(
        "twice",
        Kind("keeping"),
        model="demo-fast-echo",
        conversation_id=first.conversation_id,
    )
    assert names_of(await work.told(second)) == ["status", "token", "completed"]
    assert await kept_rows(work.db) == [(first.id, OWNER, "once"), (second.id, OWNER, "twice")]
    sent = (await work.requests())[-1]
    assert [one["content"] for one in sent["messages"]] == ["once", "twice"]
    assert "tools" not in sent


async def test_its_tools_are_offered_and_every_call_is_answered(work: Work) -> None:
    await work.hire()
    calls = [
        ("look_up", {"word": "tide"}),
        ("look_up", {"word": "ebb"}),
        ("write_file", {"path": "a.md", "content": "no file of anybody's"}),
    ]
    asked = await work.dictate(("Looking.", *calls), "The tide.", kind=Kind("looking"))
    ended = await work.ended(asked)
    assert ended.state is State.COMPLETED
    assert ended.output is not None
    assert ended.output.text == "Looking.\n\nThe tide."
    events = await work.told(asked)
    notices = [event.data["code"] for event in events if event.name == "notice"]
    assert notices == ["tool_failed", "unknown_tool"]
    assert not {"file", "file_delta"} & set(names_of(events))
    offered, answered = (await work.requests())[-2:]
    assert [tool["function"]["name"] for tool in offered["tools"]] == ["look_up"]
    told = [json.loads(m["content"]) for m in answered["messages"] if m["role"] == "tool"]
    assert told[0] == {"ok": True, "result": "the sea's \ufffd rise and fall"}
    assert [one["ok"] for one in told] == [True, False, False]


@pytest.mark.parametrize("kind", ["breaking", "nowhere", "mute"])
async def test_a_defect_of_its_code_is_a_failure_that_keeps_the_text(
    work: Work, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.finish.RETRY_LAST_SECONDS", 0.01)
    monkeypatch.setattr("jobs.finish.RETRY_FIRST_SECONDS", 0.01)
    await work.hire()
    ended = await work.ended(await work.ask("half", Kind(kind), model="demo-fast-echo"))
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "internal_error")
    if kind != "mute":
        assert ended.output is not None
        assert ended.output.text == "half"
    assert await kept_rows(work.db) == []


async def test_a_worker_that_does_not_know_it_leaves_it_to_one_that_does(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    await work.hire(relay_kinds="")
    asked = await work.ask("patience", Kind("keeping"), model="demo-fast-echo")
    await eventually(lambda: "a kind is not known here" in caplog.text)
    assert (await work.read(asked)).state is State.QUEUED
    # It does the rest of its work meanwhile.
    chat = await work.ended(await work.ask("hello"))
    assert chat.state is State.COMPLETED
    await work.hire()
    ended = await work.ended(asked)
    assert (ended.state, ended.attempt) == (State.COMPLETED, 1)
    assert caplog.text.count("a kind is not known here") == 1


async def test_one_whose_worker_was_lost_ends_though_nobody_else_knows_it(work: Work) -> None:
    asked = await work.store("Hello", Kind("keeping"))
    assert await claim(work.db, asked.id, 0, "wrk_gone", lease_seconds=10)
    await work.hire(relay_kinds="", relay_lease_seconds=0.3, relay_queue_expires_seconds=1.0)
    ended = await work.ended(asked)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_lost")
    assert ended.attempt == 2


async def test_a_wrong_setting_keeps_a_worker_from_starting(work: Work) -> None:
    hired = await work.hire(relay_kinds="no_such_app:KINDS")
    with pytest.raises(InvalidSetting, match="RELAY_KINDS: 'no_such_app:KINDS'"):
        await hired.task


async def journalled(work: Work, said: str) -> JournalRecord:
    """The record of one whose worker died with its answer."""
    generation = await work.store("Hello", Kind("keeping"))
    await register_worker(work.db, "wrk_dead", 1)
    assert await claim(work.db, generation.id, 0, "wrk_dead", lease_seconds=10)
    outcome = Outcome(
        state=State.COMPLETED, text=said, timeline=b"t", last_seq=3, last_offset=len(said)
    )
    return journal_record(generation.id, 1, outcome)


async def replay_at_start(work: Work, directory: Path, kinds: Kinds) -> int:
    """The replay that a worker with these kinds does at its start; how many it leaves pending."""
    with open_own_journal(directory, "always") as journal:
        async with open_publisher(
            work.stream_log, flush_ms=15, ttl_seconds=60, lease_seconds=10
        ) as publisher:
            ending = Ending(
                work.db, publisher, work.signals, work.queue, journal, Measures(kinds), kinds
            )
            await replay_journals(ending, directory, "always", PendingEnds())
        return journal.stats()["pending"]


async def test_a_replay_of_the_journal_keeps_what_belongs_to_the_answer(
    work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = await journalled(work, "kept")
    first, again = written(tmp_path / "first", [record]), written(tmp_path / "again", [record])
    assert await replay_at_start(work, first.parent, Kinds()) == 1
    assert "a journal record can't be replayed" in caplog.text
    assert await kept_rows(work.db) == []
    # The second is as if the first had been lost before it was marked as done.
    for place in (first.parent, again.parent):
        assert await replay_at_start(work, place, KINDS) == 0
        assert await kept_rows(work.db) == [(record.generation_id, OWNER, "kept")]
