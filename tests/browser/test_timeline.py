"""The strip below a conversation, the versions of a persona, and what changed between them."""

import re
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from playwright.async_api import Page, expect

from tests.browser.test_pure_modules import in_browser, modules, run
from tests.browser.visit import Visit

__all__ = ["modules"]

BRIEF = "A patient statistics tutor for nurses: plain language, questions before answers."
LINES = st.lists(st.sampled_from(["a", "b", "c", "", "é🎉", " a"]), max_size=12)

DIFF = "({ diff }, before, after, unfinished) => diff(before, after, unfinished)"
PLAY = """(module, made, begun, steps, now) => {
  const { beginTimeline, noteEvent, noteConnection, figures, lengths, marksOf } = module;
  let line = beginTimeline(made, begun);
  for (const [at, what, data] of steps)
    line = data ? noteEvent(line, { type: what, data }, at) : noteConnection(line, what, at);
  return { line, figures: figures(line, now), lengths: lengths(line, now), marks: marksOf(line) };
}"""


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


@in_browser
@given(before=LINES, after=LINES)
async def test_a_diff_holds_both_texts(modules: Page, before: list[str], after: list[str]) -> None:
    lines = await run(modules, "diff.js", DIFF, text(before), text(after), False)
    assert [one["text"] for one in lines if one["kind"] != "added"] == before
    assert [one["text"] for one in lines if one["kind"] != "removed"] == after
    if before == after:
        assert all(one["kind"] == "same" for one in lines)


@in_browser
@given(before=LINES, share=st.floats(0, 1))
async def test_what_is_still_to_be_written_is_not_called_removed(
    modules: Page, before: list[str], share: float
) -> None:
    # An unfinished text that so far only repeats the old one, half a line too, has changed nothing.
    written = text(before)[: round(share * len(text(before)))]
    lines = await run(modules, "diff.js", DIFF, text(before), written, True)
    assert not [one for one in lines if one["kind"] in ("added", "removed")]


async def played(modules: Page, steps: list[list[Any]], now: int) -> Any:
    made = {"created_at": "1970-01-01T00:00:01Z"}
    return await run(modules, "timeline.js", PLAY, made, now, steps, now)


async def test_a_timeline_tells_waits_rates_resets_and_reconnects(modules: Page) -> None:
    running = {"state": "running", "attempt": 1}
    final = {"generation": {"usage": {"output_tokens": 40}}}
    told = await played(
        modules,
        [
            [1250, "status", running],
            [1750, "token", {"text": "a"}],
            [2000, "waiting"],
            [2500, "offline"],
            [3000, "open"],
            [3500, "heartbeat", {"worker": "lost"}],
            [4000, "reset", {"reason": "worker_lost", "attempt": 2}],
            [5000, "token", {"text": "a"}],
            [8000, "token", {"text": "a"}],
            [9000, "completed", final],
        ],
        20_000,
    )
    pieces = [(one["phase"], one["ms"]) for one in told["lengths"]]
    assert pieces == [
        ("queued", 250),
        ("thinking", 500),
        ("writing", 250),
        ("away", 1000),
        ("writing", 0),
        ("lost", 1000),
        ("thinking", 1000),
        ("writing", 4000),
    ]
    figures = told["figures"]
    assert (figures["queue"], figures["first"], figures["whole"]) == (250, 1000, 8000)
    assert figures["rate"] == 10
    line = told["line"]
    assert (line["attempt"], line["resets"], line["reconnects"]) == (2, 1, 1)
    assert [one["kind"] for one in line["marks"]] == [
        "queued", "running", "first", "away", "back", "lost", "reset", "first", "completed",
    ]  # fmt: skip


async def test_in_the_end_the_bar_and_the_figure_tell_the_same_wait(modules: Page) -> None:
    times = {"created_at": "1970-01-01T00:00:01Z", "started_at": "1970-01-01T00:00:01.010Z"}
    steps: list[list[Any]] = [
        [1100, "status", {"state": "running", "attempt": 1}],
        [1105, "token", {"text": "a"}],
        [1110, "completed", {"generation": times}],
    ]
    told = await played(modules, steps, 2000)
    pieces = [(one["phase"], one["ms"]) for one in told["lengths"]]
    assert pieces == [("queued", 10), ("thinking", 95), ("writing", 5)]
    assert told["figures"]["queue"] == 10
    assert told["figures"]["first"] == 95
    assert told["figures"]["whole"] == 110
    marks = [(one["kind"], one["at"]) for one in told["marks"]]
    assert marks == [("queued", 1000), ("running", 1010), ("first", 1105), ("completed", 1110)]


async def test_a_silence_between_two_words_is_not_drawn_as_writing(modules: Page) -> None:
    steps: list[list[Any]] = [
        [1100, "status", {"state": "running", "attempt": 1}],
        [1500, "token", {"text": "a"}],
        [2000, "token", {"text": "b"}],
    ]
    silent = [("queued", 100), ("thinking", 400), ("writing", 500), ("silent", 7000)]
    for after, last in (
        ([], []),
        ([[9000, "token", {"text": "c"}]], [("writing", 0)]),
        ([[9000, "completed", {"generation": {}}]], []),
    ):
        told = await played(modules, steps + after, 9000)
        assert [(one["phase"], one["ms"]) for one in told["lengths"]] == [*silent, *last]


async def test_the_time_without_a_connection_is_drawn_once_and_not_as_silence(
    modules: Page,
) -> None:
    steps: list[list[Any]] = [
        [1100, "status", {"state": "running", "attempt": 1}],
        [1500, "token", {"text": "a"}],
        [2000, "waiting"],
        [9000, "open"],
    ]
    begun = [("queued", 100), ("thinking", 400), ("writing", 500), ("away", 7000)]
    for after, now, last in (
        ([], 9500, [("writing", 500)]),
        ([[9100, "token", {"text": "b"}]], 9500, [("writing", 500)]),
        # It stays silent after that too, which is told from there on.
        ([], 15_000, [("writing", 0), ("silent", 6000)]),
    ):
        told = await played(modules, steps + after, now)
        pieces = [(one["phase"], one["ms"]) for one in told["lengths"]]
        assert pieces == [*begun, *last]
        assert sum(ms for _, ms in pieces) == told["figures"]["whole"]


async def test_words_of_the_past_count_for_no_rate_however_slowly_a_page_joins(
    modules: Page,
) -> None:
    made = {
        "created_at": "1970-01-01T00:00:01Z",
        "started_at": "1970-01-01T00:00:01.250Z",
        "state": "running",
    }
    # The page asked at 60 s, and its stream opened three seconds later.
    steps: list[list[Any]] = [
        [63_000, "open"],
        [63_050, "status", {"state": "running", "attempt": 1}],
    ]
    steps += [[63_060, "token", {"text": "a"}]] * 600
    steps += [[64_100 + 100 * number, "token", {"text": "a"}] for number in range(11)]
    told = await run(modules, "timeline.js", PLAY, made, 60_000, steps, 65_100)
    assert told["figures"]["queue"] == 250
    assert told["figures"]["rate"] == 10


async def test_the_time_of_a_lost_worker_is_not_drawn_as_writing(modules: Page) -> None:
    begun: list[list[Any]] = [[1100, "status", {"state": "running", "attempt": 1}]]
    alive = {"worker": "alive"}
    reset = {"reason": "worker_lost", "attempt": 2}
    written = [[1500, "token", {"text": "a"}], [2000, "token", {"text": "b"}]]
    for steps, expected in (
        # Nobody said so before the next attempt ran: after its last word it wrote nothing.
        (
            [*written, [7000, "heartbeat", alive], [9000, "reset", reset]],
            [("queued", 100), ("thinking", 400), ("writing", 500), ("lost", 7000)],
        ),
        # A model may think for long: it is lost from the last sign of life on.
        (
            [[7000, "heartbeat", alive], [9000, "reset", reset]],
            [("queued", 100), ("thinking", 5900), ("lost", 2000)],
        ),
        (
            [*written, [9000, "reset", {"reason": "handed_over", "attempt": 2}]],
            [("queued", 100), ("thinking", 400), ("writing", 7500)],
        ),
    ):
        told = await played(modules, begun + steps, 10_000)
        pieces = [(one["phase"], one["ms"]) for one in told["lengths"]]
        assert pieces == [*expected, ("thinking", 1000)]


async def test_a_page_that_comes_later_tells_what_it_saw_and_the_servers_times(
    visit: Visit,
) -> None:
    await visit.open("#/chat", "demo-tokens-500-40")
    await visit.say("Count")
    await expect(visit.answer).to_contain_text("t160 ")
    late = Visit(await visit.page.context.new_page(), visit.url)
    await late.page.goto(visit.page.url)
    await expect(late.answer).to_contain_text("t160 ")
    past = len(await late.shown_words())
    facts = late.test_id("line-facts")
    made = (await visit.api(f"/v1/generations/{visit.followed}")).json()
    times = [datetime.fromisoformat(made[name]) for name in ("created_at", "started_at")]
    queue = f"queue {(times[1] - times[0]).total_seconds():.2f} s"
    await expect(facts).to_contain_text(queue)
    await expect(late.page.locator(".line-piece.is-unseen")).to_have_count(1)
    # The words before came at once; none of them counts. A rate of a few words would be chance.
    await expect(late.answer).to_contain_text(f"t{past + 100} ")
    await expect(facts).to_contain_text("tok/s")
    rate = re.search(r"≈ ([\d.]+) tok/s", await facts.inner_text())
    assert rate
    assert 20 < float(rate[1]) < 80
    await late.quiet()
    await expect(facts).to_contain_text(queue)
    assert "first token" not in await facts.inner_text()
    await late.test_id("timeline").locator("summary").click()
    marks = late.test_id("line-marks").locator("li")
    assert await marks.all_text_contents() == [
        "+0.00 squeued",
        "beforeattempt 1 runs",
        (await marks.last.text_content()),
    ]


async def test_a_timeline_stays_small_however_often_the_network_goes(modules: Page) -> None:
    steps: list[list[Any]] = [[1100, "status", {"state": "running", "attempt": 1}]]
    for number in range(200):
        steps += [[2000 + number, "waiting"], [2000 + number, "open"]]
    line = (await played(modules, steps, 9000))["line"]
    assert line["reconnects"] == 200
    assert len(line["marks"]) <= 60
    assert len(line["phases"]) <= 60
    assert line["marks"][0]["kind"] == "queued"


async def test_the_open_generations_timeline_is_told_live_and_after_a_reload(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-400-50")
    await visit.say("Count")
    await expect(visit.test_id("line-state")).to_have_text("Writing")
    await expect(visit.test_id("line-facts")).to_contain_text("tok/s")
    await visit.test_id("timeline").locator("summary").click()
    await expect(visit.test_id("line-marks").locator("li")).to_have_count(3)
    await visit.page.reload()
    # What this page had seen before the reload is still told, in the same order.
    await visit.test_id("timeline").locator("summary").click()
    await expect(visit.test_id("line-marks").locator("li")).to_have_count(3)
    await visit.quiet()
    await expect(visit.test_id("line-state")).to_have_text("Committed")
    marks = await visit.test_id("line-marks").locator("li > :last-child").all_text_contents()
    assert marks == [
        "queued",
        "attempt 1 runs",
        "first token",
        "committed to the database, then told",
    ]
    usage = (await visit.generation())["usage"]
    assert usage["output_tokens"] == 400
    await expect(visit.test_id("line-facts")).to_contain_text("tok/s")
    await visit.page.reload()
    await expect(visit.test_id("line-state")).to_have_text("Committed")
    # When it wrote is not kept: a rate over the whole would call its thinking slow writing.
    await expect(visit.test_id("line-facts")).to_contain_text("· 400 tokens ·")
    await expect(visit.page.locator(".line-piece.is-writing")).to_have_count(0)


async def test_versions_and_their_changes_are_shown_while_written_and_after(visit: Visit) -> None:
    await visit.open()
    await visit.create("Ada", BRIEF)
    await visit.quiet()
    await expect(visit.test_id("versions")).to_be_hidden()
    first = await visit.persona_file("voice.md")

    await visit.name_model("demo-pace-10")
    await visit.say("Please change the voice: add a little humour.")
    await expect(visit.page.locator('[data-path="voice.md"]')).to_contain_text("writing…")
    await visit.test_id("changes").click()
    await expect(visit.test_id("file-changes")).to_contain_text("not reached yet")
    await expect(visit.test_id("file-changes").locator("del")).to_have_count(0)
    await visit.quiet()
    heights = "lines => lines.map(line => line.getBoundingClientRect().height)"
    shown = await visit.test_id("file-changes").locator("li").evaluate_all(heights)
    assert min(shown) > 15

    second = await visit.persona_file("voice.md")
    await expect(visit.test_id("version")).to_have_text("version 2")
    await visit.page.locator('[data-path="voice.md"]').click()
    await expect(visit.test_id("file-changes").locator("ins").first).to_be_visible()
    added = await visit.test_id("file-changes").locator("ins").all_text_contents()
    assert added
    assert all(line in second.split("\n") for line in added)
    assert not any(line and line in first.split("\n") for line in added)

    await visit.test_id("source").click()
    await visit.test_id("versions").select_option("1")
    await expect(visit.test_id("file-state")).to_have_text("v1")
    assert await visit.test_id("file-source").text_content() == first
    await visit.test_id("versions").select_option("")
    await expect(visit.test_id("file-state")).to_have_text("v2")
    assert await visit.test_id("file-source").text_content() == second
