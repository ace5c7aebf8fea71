"""`personas export`: the newest version, whole or not there."""

import zipfile
from typing import Any

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
