"""The page's pure modules: parser and reducer under generated input, how a moment is told."""

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser, Page

from tests.browser.stage import WEB

# Each example is a call into the browser; the page holds nothing between two of them.
in_browser = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
async def modules(chromium: Browser) -> AsyncIterator[Page]:
    """A page that can import the modules; no server but the browser's own interception."""
    page = await chromium.new_page()

    async def serve(route: Any) -> None:
        name = route.request.url.partition("/web/")[2]
        if name:
            await route.fulfill(path=WEB / name, content_type="text/javascript")
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    await page.route("**/*", serve)
    await page.goto("http://modules.test/")
    yield page
    await page.close()


async def run(page: Page, module: str, script: str, *arguments: Any) -> Any:
    body = f"""async (given) => {{
      const module = await import("/web/{module}");
      return ({script})(module, ...given);
    }}"""
    return await page.evaluate(body, list(arguments))


PARSE = """({ createParser }, pieces) => {
  const frames = [], retries = [];
  const feed = createParser((frame) => frames.push(frame), (ms) => retries.push(ms));
  pieces.forEach(feed);
  return { frames, retries };
}"""


@in_browser
@given(
    data=st.lists(texts, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
async def test_the_parser_gives_the_same_events_however_they_are_cut(
    modules: Page, data: list[str], end: str, cuts: list[float]
) -> None:
    lines: list[str] = ["retry: 700", ""]
    for number, text in enumerate(data):
        lines += [": comment", f"id: 1.{number}.0", "event: token", f"data: {json.dumps(text)}", ""]
    stream = "".join(line + end for line in lines)
    edges = [0, *sorted(round(cut * len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in pairwise(edges)]
    found = await run(modules, "relay.js", PARSE, pieces)
    assert found["retries"] == [700]
    assert [json.loads(frame["data"]) for frame in found["frames"]] == data
    assert [frame["id"] for frame in found["frames"]] == [f"1.{n}.0" for n in range(len(data))]


async def test_the_parser_gives_no_event_that_was_cut_off(modules: Page) -> None:
    stream = "id: 1.1.0\nevent: token\ndata: {}\n\nid: 1.2.0\nevent: token\ndata: {}\n"
    found = await run(modules, "relay.js", PARSE, list(stream))
    assert [frame["id"] for frame in found["frames"]] == ["1.1.0"]


REDUCE = """({ apply, nothing }, events) => {
  const freeze = (value) => {
    if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
    return value;
  };
  return events.reduce((shown, event) => freeze(apply(shown, event)), freeze(nothing()));
}"""


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}


@in_browser
@given(pieces=st.lists(texts.filter(bool), min_size=1, max_size=8))
async def test_shown_text_and_files_are_their_pieces_joined(
    modules: Page, pieces: list[str]
) -> None:
    whole = "".join(pieces)
    deltas, at = [], 0
    for piece in pieces:
        deltas.append(event("file_delta", path="a.md", at=at, text=piece))
        at += len(piece)
    done = event("file", path="a.md", op="write", bytes=len(whole.encode()), sha256="f")
    tokens = [event("token", text=piece) for piece in pieces]
    shown = await run(modules, "shown.js", REDUCE, [*tokens, *deltas, done])
    assert shown["text"] == whole
    assert shown["files"][0]["text"] == whole
    assert shown["files"][0]["whole"] is True
    assert shown["files"][0]["state"] == "written"


@in_browser
@given(before=st.lists(texts, max_size=5), after=st.lists(texts, max_size=5))
async def test_a_reset_forgets_everything_that_was_shown(
    modules: Page, before: list[str], after: list[str]
) -> None:
    def tokens(pieces: list[str]) -> list[dict[str, Any]]:
        return [event("token", text=piece) for piece in pieces]

    first = [event("skill", requested="x", matched=None, score=0), event("notice", code="c")]
    reset = event("reset", reason="worker_lost", attempt=2)
    shown = await run(modules, "shown.js", REDUCE, [*tokens(before), *first, reset, *tokens(after)])
    alone = await run(modules, "shown.js", REDUCE, [reset, *tokens(after)])
    assert shown == alone
    assert shown["text"] == "".join(after)


async def test_a_preview_with_a_gap_stops_and_is_not_called_whole(modules: Page) -> None:
    shown = await run(
        modules,
        "shown.js",
        REDUCE,
        [
            event("file_delta", path="a.md", at=0, text="abc"),
            event("file_delta", path="a.md", at=5, text="fgh"),
            event("file", path="a.md", op="write", bytes=8, sha256="f"),
        ],
    )
    assert shown["files"][0]["text"] == "abc"
    assert shown["files"][0]["whole"] is False


async def test_a_file_begun_anew_shows_only_its_new_content(modules: Page) -> None:
    shown = await run(
        modules,
        "shown.js",
        REDUCE,
        [
            event("file_delta", path="a.md", at=0, text="old"),
            event("file", path="a.md", op="write", bytes=3, sha256="1"),
            event("file_delta", path="a.md", at=0, text="new "),
            event("file_delta", path="a.md", at=4, text="🎉"),
            event("file", path="a.md", op="write", bytes=8, sha256="2"),
        ],
    )
    assert [(file["text"], file["whole"]) for file in shown["files"]] == [("new 🎉", True)]


async def test_events_of_an_unknown_kind_change_nothing(modules: Page) -> None:
    known = [event("token", text="a")]
    alone = await run(modules, "shown.js", REDUCE, known)
    assert await run(modules, "shown.js", REDUCE, [*known, event("surprise", x=1)]) == alone


MOMENTS = """async ({ moment, exactly }) => {
  const now = new Date();
  const at = (change) => {
    const then = new Date(now.getFullYear(), now.getMonth(), now.getDate(), 9, 7);
    change(then);
    return [moment(then.toISOString()), exactly(then.toISOString())];
  };
  return [
    at(() => {}),
    at((then) => then.setMonth(now.getMonth() === 6 ? 7 : 6, 14)),
    at((then) => then.setFullYear(2019, 6, 14)),
  ];
}"""


async def test_a_moment_is_told_by_what_tells_it_from_now(modules: Page) -> None:
    today, this_year, long_ago = await run(modules, "moments.js", MOMENTS)
    assert today[0] == today[1]
    assert "9:07" in today[1]
    for told in (this_year, long_ago):
        assert ":" not in told[0]
        assert "14" in told[0]
        assert told[1].startswith(told[0])
        assert "9:07" in told[1]
    assert "2019" in long_ago[1]
    assert not any(str(year) in this_year[1] for year in range(2019, 2100))
