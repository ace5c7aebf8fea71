"""The links of a model's words: safe, honest about where they lead, and never half of one."""

import json
from typing import Literal
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Page, Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.test_markdown import SHOW
from tests.browser.test_pure_modules import in_browser, modules, run
from tests.browser.visit import Visit

__all__ = ["modules"]

LINKS = {
    # What is written: the link's words, its address, and what is said beside it.
    "[a](https://b.example)": ("a", "https://b.example/", "b.example"),
    "[a *b*](https://b.example/c 'Title')": ("a b", "https://b.example/c", "b.example"),
    "[a [1]](https://b.example/c_(d)?e=_f_)": (
        "a [1]",
        "https://b.example/c_(d)?e=_f_",
        "b.example",
    ),
    "[a](<https://b.example/c>)": ("a", "https://b.example/c", "b.example"),
    "[a](https://b.example/c\\_d)": ("a", "https://b.example/c_d", "b.example"),
    "[](https://b.example)": ("https://b.example/", "https://b.example/", None),
    "[b.example/c](https://b.example/c)": ("b.example/c", "https://b.example/c", None),
    "[c.example](https://b.example)": ("c.example", "https://b.example/", "b.example"),
    "[b.example.c.example](https://b.example)": (
        "b.example.c.example",
        "https://b.example/",
        "b.example",
    ),
    "[a](https://b\u0435.example)": ("a", "https://xn--b-jtb.example/", "xn--b-jtb.example"),
    "https://b\u0435.example": (
        "https://b\u0435.example",
        "https://xn--b-jtb.example/",
        "xn--b-jtb.example",
    ),
    "(see https://b.example/c_(d).)": ("https://b.example/c_(d)", "https://b.example/c_(d)", None),
    "**https://b.example:8000/**, too": (
        "https://b.example:8000/",
        "https://b.example:8000/",
        None,
    ),
    "見よ「https://b.example/c」。": ("https://b.example/c", "https://b.example/c", None),
    "<https://b.example/c,>": ("https://b.example/c,", "https://b.example/c,", None),
    "![a](https://b.example/c.png)": (
        "https://b.example/c.png",
        "https://b.example/c.png",
        None,
    ),
    "<a.b@c.example>": ("a.b@c.example", "mailto:a.b@c.example", None),
    "[write](mailto:a@c.example?subject=x)": (
        "write",
        "mailto:a@c.example?subject=x",
        "a@c.example",
    ),
}
NO_LINKS = [
    "[a](javascript:alert(1))",
    "[a](JavaScript:alert(1))",
    "[a](data:text/html,x)",
    "[a](vbscript:x)",
    "[a](file:///etc/passwd)",
    "[a](//b.example)",
    "[a](/v1/personas)",
    "[a](#/chat)",
    "[a](voice.md)",
    "[a](https:b.example)",
    "[a](https://)",
    "[a](https://b.example\\@c.example)",
    "[a](https://b.example@c.example)",
    "[a](<https://b.example/\u0001>)",
    "[a](https://b.example/\u202egnp.exe)",
    "[a](mailto:)",
    "<javascript:alert(1)>",
    "<https://b.example@c.example>",
    "https://b.example@c.example",
    "https://...",
    "a@b.example",
    "www.b.example",
    "`[a](https://b.example)`",
    "\\[a](x)",
]


async def test_each_form_of_a_link_leads_where_it_says(modules: Page) -> None:
    for written, (words, href, to) in LINKS.items():
        [found] = (await run(modules, "markdown.js", SHOW, [written]))["links"]
        assert (found["text"], found["href"], found["to"]) == (words, href, to), written
        assert found["title"] == href
        assert found["rel"] == "noopener noreferrer"
        assert found["target"] == ("" if href.startswith("mailto:") else "_blank")


async def test_what_leads_elsewhere_than_it_may_is_shown_as_it_was_written(modules: Page) -> None:
    for written in NO_LINKS:
        drawn = await run(modules, "markdown.js", SHOW, [written])
        assert drawn["links"] == [], written
        shown = written.strip("`").removeprefix("\\")
        assert drawn["text"] == shown


SCHEMES = ["javascript:", "data:", "HTTPS://", "https://", "//", "mailto:", "blob:", "ftp://"]
PARTS = [
    "a",
    "@",
    ".example",
    "\\",
    "\u0001",
    "\u202e",
    "\n",
    " ",
    "(",
    ")",
    "<",
    ">",
    '"',
    "&#58;",
]
addresses = st.lists(st.sampled_from(SCHEMES + PARTS + ["[", "](", "[a](", "!"]), max_size=20)


@in_browser
@given(pieces=addresses)
async def test_no_text_makes_a_link_that_is_not_safe(modules: Page, pieces: list[str]) -> None:
    drawn = await run(modules, "markdown.js", SHOW, ["".join(pieces)])
    for link in drawn["links"]:
        address = urlsplit(link["href"])
        assert address.scheme in {"http", "https", "mailto"}
        assert link["rel"] == "noopener noreferrer"
        to = address.netloc or address.path
        assert "@" not in address.netloc
        assert link["to"] == to or link["text"].lower().startswith(
            (to, f"{address.scheme}:{to}", f"{address.scheme}://{to}")
        )


STATES = """({ show }, text) => {
  const container = document.createElement("div");
  return [...text].map((_, at, all) => {
    show(container, all.slice(0, at + 1).join(""), true);
    return container.textContent;
  });
}"""
"""What is shown after each letter of a text that is being written."""


async def test_a_half_link_is_shown_as_its_words_until_it_is_whole(modules: Page) -> None:
    text = (
        "See [the *docs*](https://b.example/c_(d) 'T'), <https://b.example/> or https://b.example."
    )
    whole = "See the docs, https://b.example/ or https://b.example."
    states = await run(modules, "markdown.js", STATES, text)
    assert states[-1] == whole
    assert [shown for shown in states if "]" in shown or "(" in shown or "[" in shown] == []
    # The bracket before an address is seen until it closes.
    unmarked = [shown.replace("<", "") for shown in states]
    assert [shown for shown in unmarked if not whole.startswith(shown)] == []


async def test_a_bracket_that_begins_no_link_is_shown_at_once(modules: Page) -> None:
    for text in ("a[0", "said [1", "note [^1", "- [x", "- [ ", "![al", "`[a", "[a](java", "[a] b"):
        drawn = await run(modules, "markdown.js", STATES, text)
        assert drawn[-1] == text.removeprefix("- ").replace("`", "") or "`" in text, text
    # What stays half of a link when the writing ends is shown as it was written.
    for text in ("[a", "[a]", "[a](https://b.exam", "<https://b.example"):
        drawn = await run(modules, "markdown.js", SHOW, [text[:-1], text])
        assert drawn["text"] == text


BECOMES = """({ show }, [text, selected]) => {
  const container = document.createElement("div");
  document.body.replaceChildren(container);
  const selection = getSelection();
  const found = new Set();
  const begins = text.indexOf(selected) + selected.length;
  for (let at = begins; at <= text.length; at += 1) {
    show(container, text.slice(0, at), true);
    if (at === begins) {
      const walker = document.createTreeWalker(container, NodeFilter.SHOW_TEXT);
      while (!walker.nextNode().data.includes(selected));
      const from = walker.currentNode.data.indexOf(selected);
      const node = walker.currentNode;
      selection.setBaseAndExtent(node, from, node, from + selected.length);
    }
    found.add(selection.toString());
  }
  const link = container.querySelector("a");
  const focus = () => { link.focus(); return document.activeElement === link; };
  const kept = { selected: [...found], href: link.href, focused: focus() };
  show(container, `${text} on`, true);
  kept.stays = document.activeElement === link;
  document.body.replaceChildren();
  return kept;
}"""


@pytest.mark.parametrize("selected", ["Read", "docs"])
async def test_what_is_selected_stays_so_while_a_link_becomes_whole(
    modules: Page, selected: str
) -> None:
    text = "Read [the docs](https://b.example/c) and"
    found = await run(modules, "markdown.js", BECOMES, [text, selected])
    assert found == {
        "selected": [selected],
        "href": "https://b.example/c",
        "focused": True,
        "stays": True,
    }


WATCH = """testId => {
  window.shown = new Set();
  new MutationObserver(() => {
    for (const one of document.querySelectorAll(`[data-testid="${testId}"]`))
      if (one.closest(".answer, .viewer")) window.shown.add(one.textContent);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""
GUIDE = "https://docs.example/guide"
WRITTEN = f"Read [the guide]({GUIDE}) first."


async def assert_never_half_of_a_link(visit: Visit) -> None:
    """What `WATCH` saw grew, and was never the marks of a link."""
    shown: list[str] = await visit.page.evaluate("[...window.shown]")
    assert "Read the guide" in shown
    assert [one for one in shown if not "Read the guide first.".startswith(one)] == []


async def test_an_answer_that_is_written_shows_no_half_of_a_link(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-pace-10")
    await visit.page.evaluate(WATCH, "words")
    await visit.say(WRITTEN)
    await visit.quiet()
    await expect(visit.answer.get_by_role("link")).to_have_attribute("href", GUIDE)
    await assert_never_half_of_a_link(visit)
    # What the model was stopped in the middle of is told as it was written.
    await visit.name_model("demo-echo-silent-after-20")
    await visit.say(WRITTEN)
    await expect(visit.answer).to_have_text("Read the guide")
    await visit.test_id("stop").click()
    await expect(visit.answer).to_have_text(WRITTEN[:20])


async def test_a_file_that_is_written_shows_no_half_of_a_link(visit: Visit) -> None:
    call = {"name": "write_file", "arguments": {"path": "persona.md", "content": WRITTEN}}
    rounds = [{"text": "", "calls": [call]}, {"text": "Done."}]
    await visit.open(model="demo-dictated-pace-2")
    await visit.page.evaluate(WATCH, "file-page")
    await visit.create("Ada", json.dumps({"rounds": rounds}))
    await visit.quiet()
    link = visit.test_id("file-page").get_by_role("link")
    await expect(link).to_have_attribute("href", GUIDE)
    await assert_never_half_of_a_link(visit)


SAID = (
    "Read [the guide](https://docs.example/guide/start), https://docs.example/a-path-of-many-words"
    "-that-is-longer-than-any-line-of-a-narrow-page?query=1, or ask <help@docs.example>."
    "\n\n> [A phrase that is not where it leads](https://elsewhere.example:8443/x)"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_answers_links_open_beside_the_page_and_show_their_host(
    visit: Visit, scheme: Literal["light", "dark"]
) -> None:
    came: list[tuple[str, str | None]] = []

    async def there(route: Route) -> None:
        came.append((route.request.url, route.request.headers.get("referer")))
        await route.fulfill(body="<title>There</title>", content_type="text/html")

    await visit.page.context.route("**/guide/start", there)
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say(SAID)
    await visit.quiet()
    guide = visit.answer.get_by_role("link", name="the guide")
    host = "one => getComputedStyle(one, '::after').content"
    assert "docs.example" in str(await guide.evaluate(host))
    await assert_accessible(visit)
    await visit.keep_screenshot(f"links-{scheme}")
    async with visit.page.context.expect_page() as opened:
        await guide.click()
    other = await opened.value
    await expect(other).to_have_title("There")
    assert await other.evaluate("window.opener") is None
    assert came == [("https://docs.example/guide/start", None)]
    await visit.page.set_viewport_size({"width": 360, "height": 700})
    await visit.keep_screenshot(f"links-{scheme}-360")
    await assert_accessible(visit)
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == 360
