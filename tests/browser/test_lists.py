"""Lists and quotes of a model's words: what is indented stays in its item, over blank lines too."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Page, expect

from tests.browser.accessible import assert_accessible
from tests.browser.stage import WEB
from tests.browser.test_emphasis import LETTERS, LONG
from tests.browser.test_links import STATES
from tests.browser.test_markdown import SHOW
from tests.browser.test_pure_modules import in_browser, modules, run
from tests.browser.visit import Visit

__all__ = ["modules"]

SHAPES = {
    "- a\n\n- b\n\n- c": "<ul><li>a</li><li>b</li><li>c</li></ul>",
    "1. a\n\n\n2. b\n\n10. c": "<ol><li>a</li><li>b</li><li>c</li></ol>",
    "3) a\n\n4) b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "- a\n\n  more\n\n  and more\n- b": ("<ul><li>a<p>more</p><p>and more</p></li><li>b</li></ul>"),
    "- a\ngoes on\n  here\n\nOn": "<ul><li>a\ngoes on\nhere</li></ul><p>On</p>",
    "1. a\n\n   ```js\n   x\n\n     y\n   ```\n\n2. b": (
        '<ol><li>a<pre tabindex="0"><code data-language="js">x\n\n  y</code></pre></li>'
        "<li>b</li></ol>"
    ),
    "- ```\n  x\n  ```\n- b": (
        '<ul><li><pre tabindex="0"><code data-language="">x</code></pre></li><li>b</li></ul>'
    ),
    "1. a\n  - b\n\n  - c\n\n    d\n2. e": (
        "<ol><li>a<ul><li>b</li><li>c<p>d</p></li></ul></li><li>e</li></ol>"
    ),
    "- a\n    - b\n  - c\n- d": "<ul><li>a<ul><li>b</li><li>c</li></ul></li><li>d</li></ul>",
    "\t- a\n\t\t- b\n\t- c": "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>",
    "- a\n\n1. b": "<ul><li>a</li></ul><ol><li>b</li></ol>",
    "- a\n\n---\n\n- b": "<ul><li>a</li></ul><hr><ul><li>b</li></ul>",
    "1. a\n```\nx\n```\n2. b": (
        '<ol><li>a</li></ol><pre tabindex="0"><code data-language="">x</code></pre>'
        '<ol start="2"><li>b</li></ol>'
    ),
    "- # a\n  > b": '<ul><li><h3 class="level-1">a</h3><blockquote>b</blockquote></li></ul>',
    "- - a": "<ul><li><ul><li>a</li></ul></li></ul>",
    "> - a\n> - b\n>\n> c": "<blockquote><ul><li>a</li><li>b</li></ul><p>c</p></blockquote>",
    "> a\n> b\n>\n> c": "<blockquote>a\nb<p>c</p></blockquote>",
    "> ```\n> x\n> ```\nOn": (
        '<blockquote><pre tabindex="0"><code data-language="">x</code></pre></blockquote><p>On</p>'
    ),
    "> > a\n> b": "<blockquote><blockquote>a</blockquote><p>b</p></blockquote>",
    "# C#\n# A #": '<h3 class="level-1">C#</h3><h3 class="level-1">A</h3>',
}


async def test_what_belongs_to_an_item_or_a_quote_stays_in_it(modules: Page) -> None:
    for written, shape in SHAPES.items():
        drawn = await run(modules, "markdown.js", SHOW, [written])
        assert re.sub(r' dir="\w+"', "", drawn["fresh"]) == shape, written


async def test_a_table_in_an_item_or_a_quote_is_one(modules: Page) -> None:
    table = ["div", "table", "thead", "tr", "th", "tbody", "tr", "td"]
    for written, around in {
        "- a\n\n  | b |\n  |---|\n  | c |\nOn": ["ul", "li", *table, "p"],
        "> | b |\n> |---|\n> | c |": ["blockquote", *table],
    }.items():
        assert (await run(modules, "markdown.js", SHOW, [written]))["elements"] == around


async def test_a_list_that_is_being_written_shows_no_bare_mark(modules: Page) -> None:
    text = "So:\n\n1. One\n2. **Two**\n\n   and\n\n3. Three\n   - a\n   - b\n\n> - c\n> - d"
    states = await run(modules, "markdown.js", STATES, text)
    assert states[-1] == "So:OneTwoandThreeabcd"
    assert [shown for shown in states if not states[-1].startswith(shown.strip("\n >"))] == []


GROWS = """({ show }, text) => {
  const container = document.createElement("div");
  const items = new Set();
  let most = 0;
  for (let end = 1; end <= text.length; end += 1) {
    show(container, text.slice(0, end), true);
    container.querySelectorAll("li").forEach((one) => items.add(one));
    most = Math.max(most, container.children.length);
  }
  return [items.size, most, container.querySelectorAll("li").length];
}"""


async def test_the_items_of_a_loose_list_stay_while_it_grows(modules: Page) -> None:
    text = (
        "1. One\n\n   more of it\n\n   ```\n   x\n\n   y\n   ```\n\n"
        "2. Two\n\n   - a\n\n   - b\n\n3. Three"
    )
    assert await run(modules, "markdown.js", GROWS, text) == [5, 1, 5]


DEEP = ["> ", "- ", "1. ", "> - "]
NESTS = """({ show }, [piece, times]) => {
  const container = document.createElement("div");
  show(container, `${piece.repeat(times)}word`);
  const nested = "ul ul, ul ol, ol ol, blockquote blockquote, blockquote ul, ul blockquote";
  return [container.querySelectorAll(nested).length, container.textContent.endsWith("word")];
}"""


async def test_lists_and_quotes_nest_so_deep_and_no_deeper(modules: Page) -> None:
    for piece in DEEP:
        nested, told = await run(modules, "markdown.js", NESTS, [piece, 4_000])
        assert 5 < nested < 10
        assert told
    stairs = "".join(f"{'  ' * depth}- a\n" for depth in range(300))
    drawn = await run(modules, "markdown.js", SHOW, [stairs])
    assert drawn["elements"].count("ul") == 8
    assert drawn["text"].count("a") == 300


HOSTILE = [
    ("- a\n\n", "", ""),
    ("- a\n  ", "", ""),
    ("> - ", "", ""),
    ("> \n", "", ""),
    ("- ```\n", "", ""),
    ("```\n~~~\n", "", ""),
    ("\n", "- a", "  b"),
    ("#", "# a ", "x"),
    (" ", "# a", "x"),
    (" ", "``` ", "`"),
    ("a", "``` ", "`"),
    ("~", "", "`"),
    (" ", "- ", "\u2028"),
    ("- ", "", "x"),
    ("| ", "", "\n|---|"),
    ("a|\n", "", ""),
]


async def test_the_cost_of_lines_is_linear(modules: Page) -> None:
    for piece, before, after in HOSTILE:
        given = [piece, 100_000 // len(piece), before, after]
        drawn = await run(modules, "markdown.js", LONG, given)
        # On a busy machine this is still little beside the square of the length.
        assert drawn["took"] < 15_000, given


INDENTS = ["", "", " ", "  ", "   ", "    ", "\t"]
BEGINS = [
    "",
    "",
    "- ",
    "* ",
    "1. ",
    "12) ",
    "> ",
    ">",
    "# ",
    "```\n",
    "~~~\n",
    "---\n",
    "| a |\n|---|\n",
]
ENDS = ["\n", "\n", "\n\n", "\n \n", ""]
lines = st.lists(
    st.tuples(*(st.sampled_from(one) for one in (INDENTS, BEGINS, LETTERS, ENDS))).map("".join),
    max_size=12,
)
SHOWN = """({ show }, text) => {
  const grown = document.createElement("div");
  const texts = [];
  for (let end = 0; end <= text.length; end += 1) {
    show(grown, text.slice(0, end), true);
    const [live, whole] = [document.createElement("div"), document.createElement("div")];
    show(live, text.slice(0, end), true);
    show(whole, text.slice(0, end));
    texts.push([grown.textContent, whole.textContent, grown.isEqualNode(live)]);
  }
  return texts;
}"""


@in_browser
@given(written=lines)
async def test_lists_however_they_are_indented_lose_no_letter(
    modules: Page, written: list[str]
) -> None:
    text = "".join(written)

    def letters(told: Any) -> str:
        return "".join(filter(str.isalpha, told))

    for end, (live, whole, same) in enumerate(await run(modules, "markdown.js", SHOWN, text)):
        begun = re.sub(r"(`{3,}|~{3,}).*", "", text[:end])
        assert letters(live) == letters(whole) == letters(begun)
        assert same


SAID = """Do this:

1. **First** of all

   Look at it, for a while.

   ```sh
   make run
   ```

2. Then

   - one thing

   - another

> - what was said
> - and by whom
>
> [Where](https://b.example)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_loose_list_looks_like_one(visit: Visit, scheme: Any) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say(SAID)
    await visit.quiet()
    await expect(visit.answer.locator("> ol > li")).to_have_count(2)
    await assert_accessible(visit)
    await visit.keep_screenshot(f"lists-{scheme}")


CARETS = """({ show }, texts) => texts.map((text) => {
  const container = document.createElement("div");
  container.className = "caret words";
  document.body.replaceChildren(container);
  show(container, text, true);
  return [container, ...container.querySelectorAll("*")]
    .filter((one) => getComputedStyle(one, "::after").content === '""')
    .map((one) => one.localName);
})"""


async def test_the_caret_stands_once_after_the_last_words(modules: Page) -> None:
    await modules.add_style_tag(path=WEB / "words.css")
    carets = {
        "": "div",
        "a": "p",
        "# a": "h3",
        "- a\n- b": "li",
        "- a\n- b\n  - c\n\n    d": "p",
        "> a": "blockquote",
        "> - a\n> - b": "li",
        "- a\n  ```\n  b": "code",
        "- `a` *b*": "li",
        "> a\n> | b |\n> |---|\n": "th",
        "- | a |\n  |---|\n  | b |": "td",
    }
    found = await run(modules, "markdown.js", CARETS, list(carets))
    assert found == [[one] for one in carets.values()]
