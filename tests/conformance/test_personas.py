"""Personas: lists, versions as spans of files, export, and deletion."""

import asyncio
import hashlib

import pytest

from jobs.errors import InvalidRequest, NotFound
from jobs.generation import Kind, State
from jobs.store.exports import export_files
from jobs.store.personas import (
    Deleted,
    delete_persona,
    list_personas,
    list_versions,
    read_file,
    read_persona,
)
from jobs.store.reads import read_generation
from tests.conformance.acts import Acts, change, outcome

VERSIONS = (
    change({"a.md": "a1", "b/c.md": "🎉"}, skills=("one",), card={"n": 1}),
    change({"a.md": "a2"}, skills=("one", "two"), card={"n": 2}),
    change({"d.md": "d3"}, "b/c.md", card={"n": 3}),
    change({"b/c.md": "again"}, card={"n": 4}),
)
FILES = (
    {"a.md": "a1", "b/c.md": "🎉"},
    {"a.md": "a2", "b/c.md": "🎉"},
    {"a.md": "a2", "d.md": "d3"},
    {"a.md": "a2", "b/c.md": "again", "d.md": "d3"},
)


async def test_every_version_keeps_its_files(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS)
    for version, files in enumerate(FILES, 1):
        for path in ("a.md", "b/c.md", "d.md", "e.md"):
            if path not in files:
                with pytest.raises(NotFound):
                    await read_file(acts.db, "ann", persona, path, version)
                continue
            file = await read_file(acts.db, "ann", persona, path, version)
            content = files[path].encode()
            assert (file.content, file.bytes, file.version) == (files[path], len(content), version)
            assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (await read_file(acts.db, "ann", persona, "b/c.md")).content == "again"
    for version in (0, 5, -1):
        with pytest.raises(NotFound):
            await read_file(acts.db, "ann", persona, "a.md", version)


async def test_versions_are_listed_newest_first_in_pages(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS)
    first = await list_versions(acts.db, "ann", persona, 3)
    rest = await list_versions(acts.db, "ann", persona, 3, first.next_cursor)
    shown = first.data + rest.data
    assert [one.version for one in shown] == [4, 3, 2, 1]
    assert rest.next_cursor is None
    for one in shown:
        assert [file.path for file in one.files] == sorted(FILES[one.version - 1])
        made_by = await read_generation(acts.db, "ann", one.generation_id)
        assert made_by.output is not None
        assert made_by.output.persona_version == one.version
    assert shown[2].skills == ("one", "two")
    for cursor in ("x", "-1", "", "1" * 20, "²"):
        with pytest.raises(InvalidRequest):
            await list_versions(acts.db, "ann", persona, 3, cursor)


async def test_a_persona_is_shown_at_its_newest_version(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS)
    shown = await read_persona(acts.db, "ann", persona)
    assert (shown.version, shown.derived, shown.skills) == (4, {"card": {"n": 4}}, ())
    assert {file.path: file.bytes for file in shown.files} == {
        path: len(content.encode()) for path, content in FILES[3].items()
    }


async def test_a_new_persona_has_version_0_and_nothing_in_it(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, "a brief", name="Ada")
    persona = str(made.generation.persona_id)
    shown = await read_persona(acts.db, "ann", persona)
    assert (shown.name, shown.brief, shown.version) == ("Ada", "a brief", 0)
    assert (shown.files, shown.skills, shown.derived) == ((), (), {})
    assert shown.conversation_id == made.generation.conversation_id
    assert (await list_versions(acts.db, "ann", persona)).data == ()
    assert [file async for file in export_files(acts.db, "ann", persona)] == []
    with pytest.raises(NotFound):
        await read_file(acts.db, "ann", persona, "a.md")


async def test_two_personas_may_share_a_name(acts: Acts) -> None:
    made = [
        str((await acts.accept(Kind.GENERATE, name="Ada")).generation.persona_id) for _ in range(3)
    ]
    await acts.accept(Kind.GENERATE, name="Ada", owner="bob")
    first = await list_personas(acts.db, "ann", 2)
    rest = await list_personas(acts.db, "ann", 2, first.next_cursor)
    assert [one.id for one in first.data + rest.data] == sorted(made, reverse=True)
    assert {one.name for one in first.data} == {"Ada"}
    with pytest.raises(InvalidRequest):
        await list_personas(acts.db, "ann", 101)


async def test_an_export_is_the_newest_version_when_it_began(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS[:2])
    exported = {}
    async for file in export_files(acts.db, "ann", persona):
        exported[file.path] = file.content
        if len(exported) == 1:
            again = await acts.accept(Kind.REFINE, persona_id=persona)
            await acts.run(again, outcome(change=change({"a.md": "new"}, "b/c.md")))
    assert exported == FILES[1]


async def test_what_is_another_owners_or_gone_is_not_found(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS)
    gone = await acts.persona(*VERSIONS[:1])
    await delete_persona(acts.db, "ann", gone)
    for owner, wanted in (("bob", persona), ("ann", "per_unknown"), ("ann", gone)):
        with pytest.raises(NotFound):
            await read_persona(acts.db, owner, wanted)
        with pytest.raises(NotFound):
            await list_versions(acts.db, owner, wanted)
        with pytest.raises(NotFound):
            await read_file(acts.db, owner, wanted, "a.md")
        with pytest.raises(NotFound):
            await anext(export_files(acts.db, owner, wanted))
        with pytest.raises(NotFound):
            await delete_persona(acts.db, owner, wanted)
    assert [one.id for one in (await list_personas(acts.db, "ann")).data] == [persona]


async def test_a_deletion_cancels_what_runs_and_what_waits(acts: Acts) -> None:
    persona = await acts.persona(*VERSIONS[:1])
    active = await acts.accept(Kind.REFINE, persona_id=persona)
    waiting = await acts.accept(Kind.REFINE, persona_id=persona, on_active="queue")
    claimed = await acts.claimed(active.generation.id)
    deleted = await delete_persona(acts.db, "ann", persona)
    assert deleted == Deleted((waiting.generation.id,), (active.generation.id,))
    ended = await read_generation(acts.db, "ann", waiting.generation.id)
    assert ended.state is State.CANCELLED
    assert (await acts.commit(claimed)).promoted is None


async def test_a_refine_and_a_deletion_at_once_leave_nothing_running(acts: Acts) -> None:
    for _ in range(10):
        persona = await acts.persona(*VERSIONS[:1])
        deleted, accepted = await asyncio.gather(
            delete_persona(acts.db, "ann", persona),
            acts.accept(Kind.REFINE, persona_id=persona),
            return_exceptions=True,
        )
        assert isinstance(deleted, Deleted)
        if isinstance(accepted, BaseException):
            assert isinstance(accepted, NotFound)
        else:
            assert deleted.ended == (accepted.generation.id,)
