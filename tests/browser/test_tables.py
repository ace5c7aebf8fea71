"""The tables of a model's words: rows come one by one, a wide one scrolls in a box of its own."""

from itertools import pairwise
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.accessible import assert_accessible
from tests.browser.test_links import STATES
from tests.browser.test_markdown import SHOW
from tests.browser.test_pure_modules import modules, run
from tests.browser.visit import Visit

__all__ = ["modules"]

ROWS = """({ show }, text) => {
  const container = document.createElement("div");
  show(container, text);
  const told = ({ localName, scope, className, innerHTML }) =>
    `${[localName, scope, className].filter(Boolean).join(".")} ${innerHTML}`;
  return [...container.querySelectorAll("tr")].map((row) => [...row.children].map(told));
}"""


async def test_heads_rows_and_their_sides_are_those_that_were_written(modules: Page) -> None:
    text = "| a | *b* | |\n|:--|--:|:-:|\n| 1 | `2` |\n 3 | x\\|y | _z_ | and | more || \n||"
    assert await run(modules, "markdown.js", ROWS, text) == [
        ["th.col a", "th.col.right <em>b</em>", "td.center "],
        ["td 1", "td.right <code>2</code>"],
        ["td 3", "td.right x|y", "td.center <em>z</em> | and | more"],
        ["td "],
    ]


NO_TABLES = [
    "| a | b |",
    "| a | b |\n| c | d |",
    "| a | b |\n|---|",
    "| a | b |\n|---|---|---|",
    "| a | b |\n| --- | b |",
    "a\n---",
    "```\n| a |\n|---|\n```",
    "> | a |\n|---|",
]


async def test_what_only_looks_like_a_table_is_none(modules: Page) -> None:
    for text in NO_TABLES:
        drawn = await run(modules, "markdown.js", SHOW, [text])
        assert "table" not in drawn["elements"], text


async def test_a_table_stands_between_lines_and_items_of_a_list(modules: Page) -> None:
    text = "Here:\n| a |\n|---|\n| 1 |\n# Then\n- x\na | b\n--|--\n- y"
    drawn = await run(modules, "markdown.js", SHOW, list(prefixes(text)))
    assert drawn["unlike"] == []
    blocks = [one for one in drawn["elements"] if one in {"p", "div", "h3", "ul", "table"}]
    assert blocks == ["p", "div", "table", "h3", "ul", "div", "table", "ul"]


def prefixes(text: str) -> list[str]:
    """The states of a text that comes letter by letter."""
    return [text[: end + 1] for end in range(len(text))]


SHAPES = """({ show }, text) => {
  const container = document.createElement("div");
  const shapes = [];
  let first;
  for (let end = 1; end <= text.length; end += 1) {
    show(container, text.slice(0, end), true);
    const rows = [...container.querySelectorAll("tr")];
    first ??= rows[0];
    shapes.push([rows[0] === first, rows.length, rows.at(-1)?.children.length ?? 0]);
  }
  return shapes;
}"""
TABLE = (
    "So:\n\n| Name | For whom |\n| --- | :-: |\n| **Ada** | nurses |\n| Inès | children |\n\nDone."
)


async def test_a_table_grows_by_rows_and_shows_none_of_its_marks(modules: Page) -> None:
    shapes = await run(modules, "markdown.js", SHAPES, TABLE)
    assert all(kept for kept, *_ in shapes[TABLE.index("**Ada") :])
    # A row is added when it has a word, a cell when it begins, and neither goes again.
    assert [after for before, after in pairwise(shapes) if after[1:] < before[1:]] == []
    assert {tuple(shape[1:]) for shape in shapes} == {
        (0, 0),
        (1, 2),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
    }
    assert shapes[-1] == [True, 3, 2]
    states = await run(modules, "markdown.js", STATES, TABLE)
    # The heads are a line of text until what follows makes a table of them.
    begun = next(at for at, (_, rows, _) in enumerate(shapes) if rows)
    assert [shown for shown in states if "--" in shown or "- " in shown or ":-" in shown] == []
    assert [shown for shown in states[begun:] if "|" in shown] == []


WAYS = """({ show }, texts) => texts.map((text) => {
  const container = document.createElement("div");
  document.body.replaceChildren(container);
  show(container, text);
  const [first, last] = container.querySelectorAll("tr:first-child > *");
  const left = (one) => one.getBoundingClientRect().left;
  return left(first) < left(last) ? "ltr" : "rtl";
})"""


async def test_the_columns_of_a_table_run_the_way_of_its_own_words(modules: Page) -> None:
    ways = {
        "| الاسم | العمر |\n|---|---|\n| Ada | 36 |": "rtl",
        "| **שם** | Age |\n|---|---|\n| a | b |": "rtl",
        "| 1 | 2 |\n|---|---|\n| سارة | 3 |": "rtl",
        "| Name | العمر |\n|---|---|\n| سارة | 3 |": "ltr",
        "| 1 | 2 |\n|---|---|\n| 3 | 4 |": "ltr",
    }
    assert await run(modules, "markdown.js", WAYS, list(ways)) == list(ways.values())


KEPT = """({ show }, states) => {
  const container = document.createElement("div");
  container.style.width = "200px";
  const style = document.createElement("style");
  style.textContent = ".table { overflow: auto } td { white-space: nowrap }";
  document.body.replaceChildren(style, container);
  show(container, states[0], true);
  const box = container.querySelector(".table");
  box.focus();
  box.scrollLeft = 40;
  const cell = container.querySelector("td").firstChild;
  getSelection().setBaseAndExtent(cell, 0, cell, 3);
  for (const state of states.slice(1)) show(container, state, true);
  const found = {
    selected: getSelection().toString(),
    scrolled: box.scrollLeft,
    focused: document.activeElement === box,
    rows: container.querySelectorAll("tr").length,
  };
  document.body.replaceChildren();
  return found;
}"""


async def test_selection_focus_and_scroll_outlast_the_rows_that_come(modules: Page) -> None:
    wide = "Ada " * 40
    states = [
        state for state in prefixes(f"| a |\n|---|\n| {wide} |\n| 1 |\n| 2 |") if wide in state
    ]
    found = await run(modules, "markdown.js", KEPT, states)
    assert found == {"selected": "Ada", "scrolled": 40, "focused": True, "rows": 4}


SAID = """Two ways, side by side:

| Way | What it does | Cost | Where to read on |
|---|---|--:|:-:|
| **Log** | Keeps each frame as it goes over the wire, and gives what follows a cursor. | 1.5 µs | \
[its page](https://docs.example/log) |
| `timeline` | Keeps the lengths of the batches | 12 µs | |
| A_word_that_is_longer_than_a_narrow_page_is_wide_and_has_no_gap | 0 | | https://docs.example/x |
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_wide_table_scrolls_alone_by_the_keyboard_too(
    visit: Visit, scheme: Literal["light", "dark"]
) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say(SAID)
    await visit.quiet()
    await assert_accessible(visit)
    await visit.keep_screenshot(f"table-{scheme}")
    await visit.page.set_viewport_size({"width": 360, "height": 700})
    await assert_accessible(visit)
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == 360
    box = visit.answer.locator(".table")
    assert await box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert await visit.page.locator(".scroller").evaluate("one => one.scrollWidth <= 360")
    await box.focus()
    await visit.page.keyboard.press("ArrowRight")
    await visit.page.wait_for_function("() => document.querySelector('.table').scrollLeft > 0")
    await box.evaluate("box => { box.scrollLeft = 0; box.scrollIntoView(); }")
    await visit.keep_screenshot(f"table-{scheme}-360")


async def test_a_table_that_is_being_written_is_accessible_in_each_state(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("| Name | |\n|---|---|")
    await visit.quiet()
    await expect(visit.answer.locator("tr")).to_have_count(1)
    await assert_accessible(visit)
    await visit.name_model("demo-echo-pace-20")
    await visit.say("| Name | For |\n|---|---|\n| Ada | nurses, and all who count |")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    heads = visit.answer.locator("th")
    await expect(heads).to_have_count(2)
    await assert_accessible(visit)
    await expect(visit.answer.locator("td")).to_have_count(2)
    await visit.keep_screenshot("table-writing")
    await visit.quiet()
    await assert_accessible(visit)
