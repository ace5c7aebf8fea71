"""The Markdown of answers and files: what it becomes, and that it is the same however it came."""

from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Page

from tests.browser.test_pure_modules import in_browser, modules, run

__all__ = ["modules"]

SHOW = """({ show }, states) => {
  const fresh = (text, live) => {
    const container = document.createElement("div");
    show(container, text, live);
    return container;
  };
  const container = document.createElement("div");
  const unlike = states.filter((text) => {
    show(container, text, true);
    return !container.isEqualNode(fresh(text, true));
  });
  const last = states.at(-1) ?? "";
  show(container, last);
  return {
    unlike,
    same: container.isEqualNode(fresh(last)),
    fresh: fresh(last).innerHTML,
    text: container.textContent,
    elements: [...container.querySelectorAll("*")].map((one) => one.localName),
    links: [...container.querySelectorAll("a")].map((one) => ({
      href: one.href, to: one.dataset.to ?? null, text: one.textContent,
      rel: one.rel, target: one.target, title: one.title,
    })),
  };
}"""
"""Shows these states one after the other as they are written, and the last as it is whole."""
HEADINGS = {"h3", "h4", "h5", "h6"}
ALLOWED = {
    "p",
    "ul",
    "ol",
    "li",
    "pre",
    "code",
    "strong",
    "em",
    "del",
    "blockquote",
    "hr",
    "div",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
} | HEADINGS
MARKS = [
    "# ",
    "- ",
    "1. ",
    "  - ",
    "> ",
    "```\n",
    "\n",
    "\n\n",
    "**",
    "*",
    "_",
    "~~",
    "`",
    "---\n",
    "\t",
]
LINKS = [
    "[",
    "](",
    "https://b.example/x",
    ")",
    "[a](https://b.example/(x))",
    "<mailto:a@b.example>",
]
TABLES = ["| a | b |\n|---|:-:|\n", "| ", "|", "\\|", "|--", ":-:", "-", "a | b\n"]
WORDS = ["word ", "é🎉 ", "<b onclick=x>", "</div>", "[a](javascript:x)", "&amp; "]
plain = st.lists(st.sampled_from(MARKS + WORDS + TABLES), max_size=25)
markdown = st.lists(st.sampled_from(MARKS + WORDS + LINKS + TABLES), max_size=25)


@in_browser
@given(pieces=markdown)
async def test_markdown_that_grew_looks_like_markdown_that_came_whole(
    modules: Page, pieces: list[str]
) -> None:
    states = ["".join(pieces[: count + 1]) for count in range(len(pieces))]
    drawn = await run(modules, "markdown.js", SHOW, states)
    assert drawn["same"]
    assert drawn["unlike"] == []
    assert set(drawn["elements"]) <= ALLOWED


@in_browser
@given(pieces=plain)
async def test_markdown_loses_no_word(modules: Page, pieces: list[str]) -> None:
    text = "".join(pieces)
    drawn = await run(modules, "markdown.js", SHOW, [text])
    for word in ("word", "é🎉", "<b onclick=x>", "[a](javascript:x)", "&amp;"):
        assert drawn["text"].count(word) == text.count(word)


KEPT = """({ show }, whole) => {
  const container = document.createElement("div");
  container.style.width = "200px";
  const style = document.createElement("style");
  style.textContent = "pre { overflow: auto }";
  document.body.replaceChildren(style, container);
  const [words, code] = whole;
  show(container, words[0]);
  const selection = getSelection();
  const first = container.querySelector("p").firstChild;
  selection.setBaseAndExtent(first, 0, first, 4);
  for (const state of words.slice(1)) show(container, state);
  const selected = selection.toString();
  show(container, code[0]);
  const block = container.querySelector("pre");
  block.focus();
  block.scrollLeft = 40;
  show(container, code[1]);
  const now = container.querySelector("pre");
  const found = { selected, scrolled: now.scrollLeft, focused: document.activeElement === now };
  document.body.replaceChildren();
  return found;
}"""


async def test_selection_focus_and_scroll_outlast_what_is_written_on(modules: Page) -> None:
    line = "x" * 300
    words = ["Some words", "Some words and **mo", "Some words and **more** of them\n\nand more"]
    code = [f"```js\n{line}", f"```js\n{line}\n{line}\n```\nAnd then"]
    found = await run(modules, "markdown.js", KEPT, [words, code])
    assert found == {"selected": "Some", "scrolled": 40, "focused": True}


async def test_a_fence_inside_a_list_is_code_and_an_escaped_mark_is_itself(modules: Page) -> None:
    text = "1. First\n    ```js\n    let x = 1;\n      y();\n    ```\n2. Second"
    drawn = await run(modules, "markdown.js", SHOW, [text])
    assert drawn["fresh"] == (
        '<ol dir="ltr"><li>First'
        '<pre tabindex="0"><code data-language="js">let x = 1;\n  y();</code></pre>'
        "</li><li>Second</li></ol>"
    )
    escaped = "\\*escaped\\* and *a \\* b* and \\_x\\_ in C:\\dir"
    drawn = await run(modules, "markdown.js", SHOW, [escaped])
    assert drawn["fresh"] == '<p dir="ltr">*escaped* and <em>a * b</em> and _x_ in C:\\dir</p>'
