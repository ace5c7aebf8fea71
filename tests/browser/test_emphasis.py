"""Emphasis and code in a model's words: drawn as they begin, at any length; no letter is lost."""

import re

from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Page

from tests.browser.test_links import STATES
from tests.browser.test_markdown import LINKS, MARKS, SHOW, TABLES
from tests.browser.test_pure_modules import in_browser, modules, run

__all__ = ["modules"]

SHAPES = {
    "***both***": "<em><strong>both</strong></em>",
    "___both___": "<em><strong>both</strong></em>",
    "***a** b*": "<em><strong>a</strong> b</em>",
    "***a* b**": "<strong><em>a</em> b</strong>",
    "*a **b***": "<em>a <strong>b</strong></em>",
    "**a *b***": "<strong>a <em>b</em></strong>",
    "**a *b* c**": "<strong>a <em>b</em> c</strong>",
    "__bold__ and _em_": "<strong>bold</strong> and <em>em</em>",
    "**_a_ __b__**": "<strong><em>a</em> <strong>b</strong></strong>",
    "~~struck~~ and ~5": "<del>struck</del> and ~5",
    "~~a **b** c~~": "<del>a <strong>b</strong> c</del>",
    "**a `b**` c**": "<strong>a <code>b**</code> c</strong>",
    "``a ` b``": "<code>a ` b</code>",
    "**“引用”**内容 *字*字": "<strong>“引用”</strong>内容 <em>字</em>字",
    "un**fold**ed": "un<strong>fold</strong>ed",
    "*a\nb*": "<em>a\nb</em>",
    "\\***a**\\*": "*<strong>a</strong>*",
}
AS_WRITTEN = [
    "snake_case_names and __a__b and имя_файла_тут",
    "2 * 3 * 4, 2*3*4, 2 ** 3 ** 4",
    "**never closed, *never either",
    "`never closed",
    "~~never closed, ~once~",
    "**bold* on",
    "****four**** and *****",
    "* * and ** **x",
    "~~~~ between ~~~~",
]


async def test_emphasis_nests_and_leaves_no_stray_mark(modules: Page) -> None:
    for written, shape in SHAPES.items():
        drawn = await run(modules, "markdown.js", SHOW, [written])
        assert drawn["fresh"] == f'<p dir="ltr">{shape}</p>', written


async def test_marks_that_are_no_emphasis_are_shown_as_they_were_written(modules: Page) -> None:
    for written in AS_WRITTEN:
        drawn = await run(modules, "markdown.js", SHOW, [f"So: {written}"])
        assert drawn["fresh"] == f'<p dir="ltr">So: {written}</p>', written


WRITTEN = {
    "This is **a very important** word.": "This is a very important word.",
    "Then *an em*, _another_, __a bold__, ~~a struck~~.": (
        "Then an em, another, a bold, a struck."
    ),
    "Call `run it` or ``a b`` now.": "Call run it or a b now.",
    "***Both** of* them": "Both of them",
    "**one\ntwo** three": "one\ntwo three",
    "**a [*b*](https://b.example)**": "a b",
    "`x` first": "x first",
    "- **Name**: `x`\n- _b_": "Name: xb",
    "# A **head** on": "A head on",
    "| a |\n|---|\n| **b** |\n\nOn *and* on": "abOn and on",
}


async def test_what_is_half_written_is_drawn_as_if_it_were_whole(modules: Page) -> None:
    for written, whole in WRITTEN.items():
        states = await run(modules, "markdown.js", STATES, written)
        assert states[-1] == whole
        # The mark of an item or a row, and a bar, is seen until the line tells what it is.
        begun = [re.sub(r"^\| ?|\|?$|#$|-$|\| a \|", "", shown).strip() for shown in states]
        assert [shown for shown in begun if not whole.startswith(shown)] == [], written


async def test_a_half_mark_is_drawn_as_what_it_opens(modules: Page) -> None:
    halves = {
        "This is **a very": "This is <strong>a very</strong>",
        "This is **a very*": "This is <strong>a very</strong>",
        "This is ***a": "This is <em><strong>a</strong></em>",
        "Call `run": "Call <code>run</code>",
        "A ~~b **c": "A <del>b <strong>c</strong></del>",
        "A **b\n": "A <strong>b</strong>",
        "A **": "A ",
        "x**2 and snake_": "x**2 and snake_",
    }
    script = """({ show }, text) => {
      const container = document.createElement("div");
      show(container, text, true);
      const live = container.innerHTML;
      show(container, text);
      return [live, container.textContent];
    }"""
    for text, shape in halves.items():
        live, ended = await run(modules, "markdown.js", script, text)
        assert live == f'<p dir="ltr">{shape}</p>', text
        # What is never closed is told as it was written, and so is what a later block follows.
        assert ended == text.rstrip("\n")
        [closed, _] = await run(modules, "markdown.js", script, f"{text.rstrip()}\n\nOn")
        assert closed == f'<p dir="ltr">{text.rstrip()}</p><p dir="ltr">On</p>', text


LONG = """({ show }, [piece, times, before = "", after = ""]) => {
  const container = document.createElement("div");
  const began = performance.now();
  const text = before + piece.repeat(times) + after;
  show(container, text, true);
  show(container, text);
  const took = performance.now() - began;
  const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
  return { took, deep: depth(container), bold: container.querySelectorAll("strong").length };
}"""
PIECES = [
    *("*a ", "**a ", "_a ", "***a", "a** ", "*a _b ", "~~a **b ", "`a ``b ", "*", "_*", "~", "`"),
    *(
        "[",
        "[a](",
        "[a](b",
        "[a](b ",
        "](",
        "![",
        "<",
        "<a@b",
        "<https://a",
        "\\",
        "[a [b] ",
        '"a ',
    ),
    *("https://", "https://a@b/", "*https://a", "https://a.example/).", "(https://a]"),
    *("# ", "a #", "``` ", "~", "> ", "- ", "1. ", "| ", "|-", "- - ", "\t", " "),
]


async def test_the_cost_of_a_paragraph_is_linear_and_its_depth_bounded(modules: Page) -> None:
    for piece in PIECES:
        drawn = await run(modules, "markdown.js", LONG, [piece, 50_000 // len(piece)])
        # On a busy machine this is still little beside the square of the length.
        assert drawn["took"] < 10_000, piece
        assert drawn["deep"] < 24, piece


async def test_a_paragraph_of_any_length_keeps_its_emphasis(modules: Page) -> None:
    drawn = await run(modules, "markdown.js", LONG, ["some **bold** and *more* words ", 5_000])
    assert drawn["bold"] == 5_000


NESTED = ["***", "__", "~~", "~", "**a** ", "*b* ", "`c` ", "  ", "    ", "\\", "# ", "10. ", ">> "]
LETTERS = ["word ", "é", "слово ", "字", "snake_case ", "مرحبا "]
written = st.lists(st.sampled_from(MARKS + NESTED + LETTERS + TABLES), max_size=20)
anything = st.lists(st.sampled_from(MARKS + NESTED + LETTERS + TABLES + LINKS), max_size=20)

BEGINNINGS = """({ show }, text) => {
  const grown = document.createElement("div");
  const letters = [];
  for (let end = 0; end <= text.length; end += 1) {
    show(grown, text.slice(0, end), true);
    const whole = document.createElement("div");
    show(whole, text.slice(0, end));
    letters.push([text.slice(0, end), grown.textContent, whole.textContent]);
  }
  return letters;
}"""


def letters(text: str) -> str:
    """The text less marks, numbers of lists and spaces."""
    return "".join(filter(str.isalpha, text))


@in_browser
@given(pieces=written)
async def test_no_beginning_of_a_text_loses_a_letter(modules: Page, pieces: list[str]) -> None:
    # What follows a fence in its line is its language, which is no part of the text.
    text = re.sub(r"(`{3,}|~{3,})(?=[^`~\n])", r"\1\n", "".join(pieces))
    for begun, live, whole in await run(modules, "markdown.js", BEGINNINGS, text):
        assert letters(live) == letters(begun)
        assert letters(whole) == letters(begun)


@in_browser
@given(pieces=anything)
async def test_any_beginning_of_any_text_can_be_drawn(modules: Page, pieces: list[str]) -> None:
    text = "".join(pieces)
    assert (
        len(await run(modules, "markdown.js", BEGINNINGS, text))
        == len(text.encode("utf-16-le")) // 2 + 1
    )
