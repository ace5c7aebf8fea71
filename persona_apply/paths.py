"""Which paths a persona's files may have: nothing that leaves a folder, deceives or collides.

A path that passes can be joined to any root without leaving it, read as POSIX or as Windows reads
it, and no two paths of one persona differ in case or Unicode form alone. That each is a name which
every file system takes (devices, a dot at the end, 255 bytes) is not promised.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from persona_apply.errors import InvalidPath
from persona_apply.text import REPLACEMENT, join_surrogates

MAX_PATH_CHARACTERS: Final = 255

_NOT_UNICODE = re.compile(f"[\ud800-\udfff{REPLACEMENT}]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(".:")


def check_path(path: str) -> str:
    """Give the path with its surrogate pairs joined, or raise InvalidPath (protocol §6).

    Beyond the letter of the protocol: a path is in Unicode NFC, has no U+FFFD (a sign of broken
    text), no line or paragraph separator, no colon as the second character of a segment (Windows
    reads a drive, whatever stands before it), and no segment of dots and spaces alone, which some
    systems read as `.` or `..`.
    """
    path = join_surrogates(path)
    if not path:
        raise InvalidPath("path_empty", "The path is empty. Give a name such as persona.md.")
    if len(path) > MAX_PATH_CHARACTERS:
        raise InvalidPath(
            "path_too_long",
            f"The path has {len(path)} characters; at most {MAX_PATH_CHARACTERS} are allowed.",
        )
    shown = show_path(path)
    if _NOT_UNICODE.search(path):
        raise InvalidPath("path_not_unicode", f"The path {shown} has broken characters.")
    if _CONTROL.search(path):
        raise InvalidPath(
            "path_control", f"The path {shown} has a control character; leave it out."
        )
    if _BIDI.search(path):
        raise InvalidPath("path_bidi", f"The path {shown} has a bidirectional mark; leave it out.")
    if "\\" in path:
        raise InvalidPath("path_backslash", f"The path {shown} has a backslash; separate by /.")
    if path.startswith("/"):
        raise InvalidPath("path_absolute", f"The path {shown} is absolute; drop the leading /.")
    for segment in path.split("/"):
        _check_segment(segment, shown)
    if not unicodedata.is_normalized("NFC", path):
        raise InvalidPath(
            "path_not_normalised", f"The path {shown} is not in Unicode NFC; use composed letters."
        )
    return path


def check_together(paths: Iterable[str]) -> None:
    """Raise InvalidPath where two paths differ in case alone, or one file lies inside another.

    Common file systems would let one of the two overwrite or hide the other on export.
    """
    spelled: dict[str, str] = {}
    for path in paths:
        other = spelled.setdefault(_fold(path), path)
        if other != path:
            raise InvalidPath(
                "path_case_collision",
                f"The paths {show_path(other)} and {show_path(path)} differ in case alone: "
                "use one spelling, or delete the other file first.",
            )
    for folded, path in spelled.items():
        for folder in _folders(folded):
            if folder in spelled:
                raise InvalidPath(
                    "path_file_and_folder",
                    f"{show_path(spelled[folder])} cannot be a file and the folder of "
                    f"{show_path(path)}: choose another path, or delete the other file first.",
                )


def show_path(path: str) -> str:
    """The path for a message: quoted, in ASCII, clipped, so that it can deceive nobody."""
    return json.dumps(path if len(path) <= 80 else path[:79] + "…")


def _check_segment(segment: str, shown: str) -> None:
    if not segment:
        raise InvalidPath(
            "path_empty_segment", f"The path {shown} has an empty segment (//, or / last)."
        )
    if _DRIVE.match(segment):
        raise InvalidPath(
            "path_drive_letter", f"The path {shown} has a drive letter; leave it out."
        )
    dots = segment.replace(" ", "")
    if dots == "..":
        raise InvalidPath(
            "path_traversal", f"The path {shown} has a .. segment; stay inside the persona."
        )
    if dots.strip(".") == "":
        raise InvalidPath(
            "path_dot_segment", f"The path {shown} has a . or blank segment; leave it out."
        )


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _folders(path: str) -> Iterator[str]:
    end = path.find("/")
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)
