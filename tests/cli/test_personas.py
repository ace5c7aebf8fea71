"""`personas export`: the newest version, whole or not there."""

import zipfile
from typing import Any

import msgspec

from jobs.generation import Kind
from jobs.store.personas import delete_persona
from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts, change


def test_the_newest_version_is_exported_whoever_owns_it(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> str:
        return await acts.persona(
            change({"soul.md": "old", "gone.md": "x"}),
            change({"soul.md": "ChidÉ 🎉"}, "gone.md"),
            owner="bob",
        )

    file = terminal.folder / "out.zip"
    file.write_text("what was there before")
    ran = terminal.run("personas", "export", does(stored), "-o", str(file))
    assert (ran.status, ran.out) == (0, f"{file}\n")
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["soul.md"]
        assert archive.read("soul.md").decode() == "ChidÉ 🎉"


def test_an_unknown_persona_leaves_no_file_and_what_was_there(terminal: Terminal) -> None:
    file = terminal.folder / "out.zip"
    file.write_text("before")
    there = set(terminal.folder.iterdir())
    ran = terminal.run("personas", "export", "per_x", "-o", str(file))
    assert ran.refused("per_x was not found")
    assert set(terminal.folder.iterdir()) == there
    assert file.read_text() == "before"


def test_a_folder_that_is_not_there_is_one_line(terminal: Terminal) -> None:
    ran = terminal.run("personas", "export", "per_x", "-o", str(terminal.folder / "no/out.zip"))
    assert ran.refused("no/out.zip", "No such file or directory")


def test_a_zip_can_go_to_stdout(terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> str:
        return await acts.persona(change({"soul.md": "kind"}))

    ran = terminal.run("personas", "export", does(stored), "-o", "-")
    assert ran.status == 0
    assert ran.out.startswith("PK")


def test_an_owners_personas_are_exported_each_in_a_folder(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> list[str]:
        mine = [
            await acts.persona(change({"soul.md": "one"}, skills=("writing",)), owner="bob"),
            await acts.persona(change({"a/b.md": "two"}), owner="bob"),
        ]
        empty = (await acts.accept(Kind.GENERATE, "not yet", owner="bob")).generation
        gone = await acts.persona(change({"soul.md": "gone"}), owner="bob")
        await delete_persona(acts.db, "bob", gone)
        await acts.persona(change({"soul.md": "another's"}), owner="ann")
        assert empty.persona_id is not None
        return [*mine, empty.persona_id]

    one, two, empty = does(stored)
    file = terminal.folder / "out.zip"
    ran = terminal.run("personas", "export", "--owner", "bob", "-o", str(file))
    assert (ran.status, ran.err) == (0, "")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            f"{one}/persona.json",
            f"{one}/files/soul.md",
            f"{two}/persona.json",
            f"{two}/files/a/b.md",
            f"{empty}/persona.json",
        ]
        assert archive.read(f"{two}/files/a/b.md") == b"two"
        described = msgspec.json.decode(archive.read(f"{one}/persona.json"))
    assert (described["id"], described["owner"], described["name"]) == (one, "bob", "Ann")
    assert (described["version"], described["skills"]) == (1, ["writing"])


def test_several_personas_are_exported_once_each_whoever_owns_them(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> list[str]:
        return [
            await acts.persona(change({"a.md": owner}), owner=owner) for owner in ("ann", "bob")
        ]

    ids = does(stored)
    file = terminal.folder / "out.zip"
    assert terminal.run("personas", "export", *ids, ids[0], "-o", str(file)).status == 0
    with zipfile.ZipFile(file) as archive:
        assert [archive.read(f"{id}/files/a.md") for id in ids] == [b"ann", b"bob"]
        assert len(archive.namelist()) == 4


def test_an_export_without_a_persona_is_refused_and_leaves_no_file(terminal: Terminal) -> None:
    file = str(terminal.folder / "out.zip")
    there = set(terminal.folder.iterdir())
    for words in ([], ["per_x", "--owner", "bob"]):
        ran = terminal.run("personas", "export", *words, "-o", file)
        assert ran.refused("ids, or --owner", status=2), ran
    assert terminal.run("personas", "export", "--owner", "bob", "-o", file).refused(
        "'bob' has no persona", status=2
    )
    assert set(terminal.folder.iterdir()) == there
