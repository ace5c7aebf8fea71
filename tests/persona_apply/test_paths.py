"""No path gets through that could leave its root, deceive a reader or collide with another."""

import ntpath
import os.path
import posixpath
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persona_apply import MAX_PATH_CHARACTERS, InvalidPath, check_path
from persona_apply.paths import check_together, show_path

REFUSED = [
    ("", "path_empty"),
    ("a" * 256, "path_too_long"),
    ("a\ud83c", "path_not_unicode"),
    ("a\ufffd", "path_not_unicode"),
    ("a\x00b", "path_control"),
    ("a\nb", "path_control"),
    ("a\x7f", "path_control"),
    ("a\x9b", "path_control"),
    ("a\u2028b", "path_control"),
    ("a\u202egpj.exe", "path_bidi"),
    ("a\u2066b", "path_bidi"),
    ("\u200fa", "path_bidi"),
    ("a\\b", "path_backslash"),
    ("..\\a", "path_backslash"),
    ("/etc/passwd", "path_absolute"),
    ("//host/share", "path_absolute"),
    ("C:/a", "path_drive_letter"),
    ("c:a", "path_drive_letter"),
    ("a/C:b", "path_drive_letter"),
    ("a//b", "path_empty_segment"),
    ("a/", "path_empty_segment"),
    (".", "path_dot_segment"),
    ("./a", "path_dot_segment"),
    ("a/./b", "path_dot_segment"),
    ("a/ /b", "path_dot_segment"),
    ("...", "path_dot_segment"),
    ("..", "path_traversal"),
    ("../a", "path_traversal"),
    ("a/../../b", "path_traversal"),
    ("a/.. /b", "path_traversal"),
    ("e\u0301.md", "path_not_normalised"),
]

ACCEPTED = [
    "persona.md",
    "examples/first meeting.md",
    ".hidden",
    "a..b",
    "..a",
    "Wer bin ich?.md",
    "人物/性格.md",
    "🎉.md",
    "12:30.md",
    "a" * 255,
    "~/a",
    "%2e%2e/a",
]

near_paths = st.lists(
    st.one_of(
        st.sampled_from([*"/\\.: aC~\x00", "..", "/../", "\u202e", "é", "C:"]),
        st.characters(exclude_categories=()),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize(("path", "code"), REFUSED)
def test_a_bad_path_is_refused_by_the_rule_it_breaks(path: str, code: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        check_path(path)
    assert refused.value.code == code
    assert refused.value.message.isascii()


@pytest.mark.parametrize("path", ACCEPTED)
def test_a_good_path_is_given_back(path: str) -> None:
    assert check_path(path) == path


def test_a_path_written_in_two_surrogates_is_joined() -> None:
    assert check_path("\ud83c\udf89.md") == "🎉.md"


@settings(deadline=None)
@given(near_paths)
@example("a/..")
@example("a/. ./b")
def test_a_path_that_passes_never_leaves_the_root_it_is_joined_to(path: str) -> None:
    try:
        path = check_path(path)
    except InvalidPath:
        return
    for system, root in ((os.path, "/root/p"), (posixpath, "/root/p"), (ntpath, "D:\\root\\p")):
        joined = system.normpath(system.join(root, path))
        assert joined != root
        assert joined.startswith(root + system.sep)
        assert joined == root + system.sep + path.replace("/", system.sep)
    assert 1 <= len(path) <= MAX_PATH_CHARACTERS
    assert unicodedata.is_normalized("NFC", path)
    assert not {unicodedata.category(character) for character in path} & {"Cc", "Cs", "Zl", "Zp"}
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not {unicodedata.bidirectional(character) for character in path} & bidi


@pytest.mark.parametrize(
    ("paths", "code"),
    [
        (["persona.md", "Persona.md"], "path_case_collision"),
        (["straße.md", "STRASSE.md"], "path_case_collision"),
        (["Notes/a.md", "notes/a.md"], "path_case_collision"),
        (["a", "a/b"], "path_file_and_folder"),
        (["a/b/c", "a"], "path_file_and_folder"),
        (["a/b/c", "a/b"], "path_file_and_folder"),
        (["A", "a/b"], "path_file_and_folder"),
    ],
)
def test_paths_that_fall_together_on_a_file_system_are_refused(paths: list[str], code: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        check_together(paths)
    assert refused.value.code == code


def test_files_may_share_folders_and_the_beginnings_of_names() -> None:
    check_together(["a/b", "a/c", "ab", "a.md", "Notes/x", "notes/y"])


def test_a_path_is_shown_in_ascii_and_clipped() -> None:
    assert show_path("a\u202eb") == '"a\\u202eb"'
    assert len(show_path("a" * 1000)) < 100
