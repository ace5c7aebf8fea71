"""What the page is for everyone: safe, honest, for small screens, keyboards, screen readers."""

import re
from typing import Literal

import pytest
from playwright.async_api import Route, expect

from tests.browser.accessible import assert_accessible
from tests.browser.visit import Visit

HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script> **bold** <b>not</b>'
STILL = """new Promise((done) => {
  const scroller = document.querySelector(".scroller");
  let frames = 0;
  let top = scroller.scrollTop;
  requestAnimationFrame(function look() {
    frames = scroller.scrollTop === top ? frames + 1 : 0;
    top = scroller.scrollTop;
    frames < 10 ? requestAnimationFrame(look) : done(top);
  });
})"""
"""Where the conversation stands, once it moves no more."""
EDGE = """field => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(one => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const { borderTopColor, backgroundColor } = getComputedStyle(field);
  const [dark, bright] = [light(borderTopColor), light(backgroundColor)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}"""
"""The contrast of a field's edge with what it encloses (WCAG 2.2, relative luminance)."""


async def test_markup_of_a_model_is_shown_as_text(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say(HOSTILE)
    await visit.quiet()
    assert await visit.answer.text_content() == HOSTILE.replace("**", "")
    await expect(visit.answer.locator("strong")).to_have_text("bold")
    await expect(visit.answer.locator("img, script, b, a")).to_have_count(0)
    assert await visit.page.evaluate("window.hurt") is None


async def test_the_page_says_that_the_demo_model_is_scripted(visit: Visit) -> None:
    await visit.open()
    await expect(visit.test_id("model-banner")).to_contain_text("Scripted demo")


async def test_the_page_keeps_to_a_policy_of_its_own_origin(visit: Visit) -> None:
    answer = await visit.api("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_screen_of_360_pixels(
    visit: Visit, scheme: Literal["light", "dark"]
) -> None:
    await visit.open()
    await visit.page.set_viewport_size({"width": 360, "height": 700})
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.create("Ada", "A tutor with " + "averyveryverylongword" * 12)
    await visit.quiet()
    for pane in ("list", "inspector", "conversation"):
        await visit.page.locator(f'.panes [data-pane="{pane}"]').click()
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == 360
        # Nothing that can be pressed is too low for a finger.
        pressed = visit.page.locator("button:visible, select:visible")
        heights = "all => all.map(one => one.getBoundingClientRect().height)"
        assert min(await pressed.evaluate_all(heights)) >= 24


async def test_shift_enter_breaks_the_line_and_enter_sends(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    box = visit.test_id("composer")
    await box.press_sequentially("one")
    await box.press("Shift+Enter")
    await box.press_sequentially("two")
    await expect(box).to_have_value("one\ntwo")
    await box.press("Enter")
    await visit.quiet()
    assert [turn["text"] for turn in (await visit.conversation())["turns"]] == ["one\ntwo"] * 2


async def test_a_screen_reader_hears_of_turns_and_not_of_tokens(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("First")
    await visit.quiet()
    # The first answer of a chat may end before it is followed, and nothing is said of it.
    await visit.page.reload()
    await visit.name_model("demo-tokens-80-100")
    await expect(visit.answer).to_have_text("First")
    await visit.page.evaluate(
        """() => {
          window.heard = [];
          const announcer = document.querySelector("#announcer");
          new MutationObserver(() => window.heard.push(announcer.textContent))
            .observe(announcer, { childList: true, characterData: true, subtree: true });
        }"""
    )
    await visit.say("Count")
    await expect(visit.test_id("announcer")).to_have_text("The answer is complete.")
    await visit.quiet()
    assert await visit.page.evaluate("window.heard") == [
        "Writing begins.",
        "The answer is complete.",
    ]
    live = visit.page.locator("[aria-live]")
    await expect(live).to_have_count(1)


async def test_a_screen_reader_is_told_who_speaks(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    for count, said in enumerate(("line\n" * 60, "Second"), 1):
        await visit.say(said)
        await expect(visit.test_id("turn-assistant")).to_have_count(count)
        await visit.quiet()
    told = await visit.test_id("turns").aria_snapshot()
    assert re.findall("paragraph: (You|Answer)", told) == ["You", "Answer"] * 2
    widths = "all => all.map((one) => one.getBoundingClientRect().width)"
    label = visit.test_id("turn-user").get_by_text("You", exact=True)
    assert await label.evaluate_all(widths) == [1, 1]
    # What nobody sees takes no place, however far down it is.
    high, shown = await visit.page.evaluate(
        "[document.documentElement.scrollHeight, document.documentElement.clientHeight]"
    )
    assert high == shown


async def test_every_control_has_a_name(visit: Visit) -> None:
    await visit.open()
    await visit.create("Ada", "A tutor.")
    await visit.quiet()
    nameless = await visit.page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, textarea")]
          .filter((one) => one.checkVisibility())
          .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()
            || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []


async def test_reduced_motion_moves_nothing(visit: Visit) -> None:
    await visit.page.emulate_media(reduced_motion="reduce")
    await visit.open("#/chat", "demo-silent-after-3")
    await visit.say("Wait")
    await expect(visit.answer).not_to_be_empty()
    running = "document.getAnimations().filter((one) => one.playState === 'running').length"
    assert await visit.page.evaluate(running) == 0
    await visit.page.keyboard.press("Escape")
    await visit.quiet()


@pytest.mark.parametrize("width", [1280, 360])
async def test_a_server_that_wants_a_token_is_given_it_with_every_request(
    visit: Visit, width: int
) -> None:
    refused = 0

    async def guard(route: Route) -> None:
        nonlocal refused
        if route.request.headers.get("authorization") == "Bearer prt_right":
            await route.continue_()
            return
        refused += 1
        problem = {"detail": "a bearer token is needed", "code": "unauthenticated"}
        await route.fulfill(status=401, json=problem, content_type="application/problem+json")

    await visit.page.route("**/v1/**", guard)
    await visit.page.set_viewport_size({"width": width, "height": 760})
    await visit.page.goto(f"{visit.url}/#/chat")
    await expect(visit.test_id("trouble")).to_contain_text("asks for a valid API token")
    await expect(visit.test_id("token-asked")).to_be_visible()
    await expect(visit.test_id("token-input")).to_be_focused()
    await assert_accessible(visit)
    await visit.test_id("token-input").fill("prt_right")
    await visit.test_id("token-input").press("Enter")
    await expect(visit.test_id("trouble")).to_be_hidden()
    await expect(visit.test_id("composer")).to_be_visible()
    assert refused > 0
    before = refused
    await visit.page.set_viewport_size({"width": 1280, "height": 760})
    await visit.name_model("demo-echo-fast")
    await visit.say("Let in")
    await visit.quiet()
    assert await visit.shown_answer() == "Let in"
    assert refused == before


async def test_the_end_of_a_conversation_stays_in_sight_when_its_timeline_opens(
    visit: Visit,
) -> None:
    await visit.page.set_viewport_size({"width": 1280, "height": 560})
    await visit.open(model="demo")
    await visit.create("Ada", "A tutor.")
    await visit.quiet()
    below = """() => {
      const { scrollTop, scrollHeight, clientHeight } = document.querySelector(".scroller");
      return scrollHeight > clientHeight && scrollHeight - scrollTop - clientHeight < 2;
    }"""
    await visit.page.wait_for_function(below)
    await visit.test_id("timeline").locator("summary").click()
    await expect(visit.test_id("line-marks")).to_be_visible()
    await visit.drawn()
    assert await visit.page.evaluate(below)
    # Who scrolls up is left where they read.
    await visit.page.locator(".scroller").hover()
    await visit.page.mouse.wheel(0, -400)
    await expect(visit.page.get_by_label("Go to the newest words")).to_be_visible()


async def test_who_scrolls_up_a_little_while_words_come_is_left_there(visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 1280, "height": 420})
    await visit.open("#/chat", model="demo-words-600-pace-8")
    await visit.say("Count")
    await visit.page.wait_for_function("""() => {
      const { scrollHeight, clientHeight } = document.querySelector(".scroller");
      return scrollHeight > clientHeight + 60;
    }""")
    await visit.page.locator(".scroller").hover()
    await visit.page.mouse.wheel(0, -40)
    to_end = visit.page.get_by_label("Go to the newest words")
    await expect(to_end).to_be_visible()
    shown = len(await visit.answer.inner_text())
    at = await visit.page.evaluate(STILL)
    await visit.page.wait_for_function(
        "shown => document.querySelector('.is-live').innerText.length > shown + 100", arg=shown
    )
    assert await visit.page.evaluate(STILL) == at
    await to_end.click()
    await expect(to_end).to_be_hidden()
    await visit.test_id("stop").click()
    await visit.quiet()


async def test_escape_belongs_to_the_field_that_it_is_pressed_in(visit: Visit) -> None:
    await visit.open("#/chat", "demo-silent-after-3")
    await visit.say("Think")
    await expect(visit.answer).not_to_be_empty()
    asked: list[str] = []
    visit.page.on("request", lambda one: asked.append(one.url))
    await visit.test_id("model-input").press("Escape")
    await visit.test_id("token-input").press("Escape")
    # An input method's Escape leaves a word that is not written to its end.
    composing = {"key": "Escape", "isComposing": True, "bubbles": True}
    await visit.test_id("composer").dispatch_event("keydown", composing)
    await visit.drawn()
    await expect(visit.test_id("stop")).to_be_enabled()
    assert not any(url.endswith("/cancel") for url in asked)
    await visit.test_id("composer").press("Escape")
    await expect(visit.test_id("turn-outcome")).to_contain_text("Stopped")
    assert any(url.endswith("/cancel") for url in asked)


async def test_the_title_of_a_hidden_tab_tells_when_the_writing_ends(visit: Visit) -> None:
    await visit.open("#/chat", "demo-silent-after-5")
    await visit.say("Think")
    await expect(visit.answer).not_to_be_empty()
    await expect(visit.page).to_have_title("● Chat · Persona Relay")
    # A hidden tab is given no frame.
    await visit.page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          window.requestAnimationFrame = () => 0;
        }"""
    )
    await visit.test_id("stop").click()
    await expect(visit.page).to_have_title("Chat · Persona Relay")


async def test_forced_colours_leave_the_bar_and_what_is_chosen_in_sight(visit: Visit) -> None:
    await visit.page.emulate_media(forced_colors="active")
    await visit.open()
    await visit.create("Ada", "A patient tutor.")
    await visit.quiet()
    backgrounds = "all => all.map(one => getComputedStyle(one).backgroundColor)"
    for group, chosen in (
        (visit.test_id("file"), "[aria-current]"),
        (visit.page.locator(".segment"), '[aria-pressed="true"]'),
        (visit.test_id("personas").locator("a"), "[aria-current]"),
    ):
        await expect(group.and_(visit.page.locator(chosen))).to_have_count(1)
        here = await group.and_(visit.page.locator(chosen)).evaluate_all(backgrounds)
        others = await group.and_(visit.page.locator(f":not({chosen})")).evaluate_all(backgrounds)
        assert here[0] not in others
    pieces = await visit.page.locator(".line-piece").evaluate_all(backgrounds)
    assert len(set(pieces)) > 1
    await visit.keep_screenshot("forced-colours")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_edge_of_a_field_is_seen(visit: Visit, scheme: Literal["light", "dark"]) -> None:
    await visit.page.emulate_media(color_scheme=scheme)
    await visit.open()
    fields = await visit.page.locator("form :is(input, textarea):visible").all()
    assert len(fields) >= 2
    for field in fields:
        # WCAG 2.2, 1.4.11.
        assert await field.evaluate(EDGE) >= 3
