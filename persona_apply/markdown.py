"""The first heading and the first paragraph of a Markdown text, as plain text for a card."""

import re
from collections.abc import Iterator

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*)")
_NOT_PROSE = re.compile(r"\s*(?:#{1,6}(?:\s|$)|[-*+] |\d+[.)] |>|\||<|(?:---|\*\*\*|___|===)\s*$)")
_FENCES = ("```", "~~~")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_MARKS = re.compile(r"\*\*|__|[*`]")


def first_heading(text: str) -> str:
    """The text of the first heading (any level), or nothing."""
    for line in _lines(text):
        if heading := _HEADING.match(line):
            return _plain(heading[1].rstrip().rstrip("#"))
    return ""


def first_paragraph(text: str) -> str:
    """The first run of prose lines, or nothing; headings, lists, quotes, tables, code are none."""
    paragraph: list[str] = []
    for line in _lines(text):
        if line.strip() and not _NOT_PROSE.match(line):
            paragraph.append(line.strip())
        elif paragraph:
            break
    return _plain(" ".join(paragraph))


def one_line(text: str, characters: int) -> str:
    """White space run together, cut at a word to so many characters and then ended by "…"."""
    # Four times what is wanted is enough to read: the text may be long.
    line = " ".join(text[: characters * 4].split())
    if len(line) <= characters:
        return line
    kept = line[: characters - 1]
    return (kept.rsplit(" ", 1)[0] if " " in kept else kept).rstrip(" ,;:") + "…"


def _lines(text: str) -> Iterator[str]:
    """Lines outside of front matter and code blocks."""
    lines = text.splitlines()
    if lines and lines[0].strip() == "---" and "---" in lines[1:]:
        lines = lines[lines.index("---", 1) + 1 :]
    fence = ""
    for line in lines:
        mark = line.lstrip()[:3]
        if fence:
            fence = "" if mark == fence else fence
        elif mark in _FENCES:
            fence = mark
            yield ""
        else:
            yield line


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text)).strip()
