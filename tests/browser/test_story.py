"""A persona's story on the page: made from a brief, watched, reloaded, refined, stopped, read."""

from itertools import pairwise

from playwright.async_api import expect

from tests.browser.visit import Visit, words

BRIEF = "A patient statistics tutor for nurses: plain language, questions before answers."


async def test_a_persona_is_made_while_its_text_files_and_skills_appear(visit: Visit) -> None:
    await visit.open(model="demo-pace-150")
    await visit.create("Ada", BRIEF)
    await visit.test_id("source").click(timeout=20_000)
    await visit.watch()
    await visit.quiet()

    files = await visit.watched("files")
    assert len(files) > 10
    assert any(later.startswith(earlier) for earlier, later in pairwise(files))
    stored = await visit.committed_answer()
    assert stored["partial"] is False
    assert await visit.shown_words() == words(stored["text"])

    persona = await visit.persona()
    assert persona["version"] == 1
    await expect(visit.test_id("version")).to_have_text("version 1")
    paths = [file["path"] for file in persona["files"]]
    assert len(paths) >= 3
    for path in paths:
        await visit.page.locator(f'[data-testid="file"][data-path="{path}"]').click()
        text = await visit.persona_file(path)
        await expect(visit.test_id("file-state")).to_have_text("v1")
        assert await visit.test_id("file-source").text_content() == text
    assert persona["skills"]
    await expect(visit.test_id("skill")).to_have_count(len(persona["skills"]))


async def test_the_answer_appears_token_by_token_and_never_shrinks(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-60-30")
    await visit.watch()
    await visit.say("Count for me")
    await visit.quiet()
    stored = (await visit.committed_answer())["text"]
    states = await visit.watched("answers")
    assert len(states) > 15
    assert all(stored.startswith(state.rstrip()) for state in states)
    assert await visit.shown_answer() == stored.rstrip()


async def test_reloads_in_the_middle_lose_and_double_no_word(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-200-20")
    await visit.say("Count slowly")
    for token in ("t20 ", "t70 ", "t120 "):
        await expect(visit.answer).to_contain_text(token)
        await visit.page.reload(wait_until="domcontentloaded")
        await visit.watch()
        await expect(visit.test_id("stop")).to_be_visible()
    assert (await visit.conversation())["active_generation"]["state"] == "running"
    await visit.quiet()
    stored = (await visit.committed_answer())["text"]
    assert stored.split() == [f"t{number}" for number in range(1, 201)]
    assert await visit.shown_answer() == stored.rstrip()
    states = await visit.watched("answers")
    assert len(states) > 5
    assert all(stored.startswith(state.rstrip()) for state in states)


async def test_a_reload_while_files_are_written_comes_to_the_committed_persona(
    visit: Visit,
) -> None:
    await visit.open(model="demo-pace-100")
    await visit.create("Marlow", BRIEF)
    await expect(visit.test_id("file").first).to_be_visible()
    await visit.page.reload()
    await expect(visit.test_id("stop")).to_be_visible()
    await visit.quiet()
    await expect(visit.test_id("version")).to_have_text("version 1")
    stored = (await visit.committed_answer())["text"]
    assert await visit.shown_words() == words(stored)
    await visit.page.locator('[data-testid="file"][data-path="persona.md"]').click()
    await visit.test_id("source").click()
    await expect(visit.test_id("file-state")).to_have_text("v1")
    text = await visit.test_id("file-source").text_content()
    assert text == await visit.persona_file("persona.md")


async def test_refining_changes_a_file_and_a_question_changes_none(visit: Visit) -> None:
    await visit.open()
    await visit.create("Inès", BRIEF)
    await visit.quiet()
    await visit.say("Please change the voice: add a little humour.")
    await expect(visit.test_id("version")).to_have_text("version 2")
    await visit.quiet()
    await visit.page.locator('[data-testid="file"][data-path="voice.md"]').click()
    await visit.test_id("source").click()
    await expect(visit.test_id("file-source")).to_contain_text("humour")
    assert await visit.test_id("file-source").text_content() == await visit.persona_file("voice.md")
    await expect(visit.test_id("work-file").last).to_contain_text("voice.md")

    await visit.say("Who are you?")
    await expect(visit.test_id("turn-assistant")).to_have_count(3)
    await visit.quiet()
    assert (await visit.persona())["version"] == 2
    stored = (await visit.committed_answer())["text"]
    assert await visit.shown_words() == words(stored)


async def test_a_single_line_end_breaks_a_line_in_a_chat_and_not_in_a_file(visit: Visit) -> None:
    await visit.open("#/chat", "demo-echo-fast")
    await visit.say("one\ntwo")
    await visit.quiet()
    assert await visit.answer.inner_text() == "one\ntwo"
    await visit.open()
    await visit.create("Ada", BRIEF)
    await visit.quiet()
    await visit.page.locator('[data-path="persona.md"]').click()
    shown = visit.test_id("file-page").locator("p").first
    await shown.evaluate("shown => { shown.textContent = 'one\\ntwo'; }")
    assert await shown.inner_text() == "one two"


async def test_stop_keeps_the_partial_text_and_says_so(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-2000-40")
    await visit.say("Count to two thousand")
    await expect(visit.answer).to_contain_text("t20")
    await visit.test_id("stop").click()
    await visit.quiet()
    await expect(visit.test_id("partial")).to_be_visible()
    await expect(visit.test_id("turn-outcome")).to_contain_text("Stopped")
    stored = await visit.committed_answer()
    assert stored["partial"] is True
    assert await visit.shown_answer() == stored["text"].rstrip()
    state = (await visit.api(f"/v1/generations/{stored['generation_id']}")).json()["state"]
    assert state == "cancelled"

    await visit.page.reload()
    await expect(visit.test_id("turn-outcome")).to_contain_text("Stopped")
    assert await visit.shown_answer() == stored["text"].rstrip()


async def test_escape_stops_a_model_that_says_nothing(visit: Visit) -> None:
    await visit.open("#/chat", "demo-silent-after-5")
    await visit.say("Fall silent")
    await expect(visit.test_id("stop")).to_be_visible()
    await expect(visit.answer).not_to_be_empty()
    await visit.page.keyboard.press("Escape")
    await visit.quiet()
    await expect(visit.test_id("turn-outcome")).to_contain_text("Stopped")


async def test_a_finished_page_opens_whole_and_asks_for_no_stream(visit: Visit) -> None:
    await visit.open()
    await visit.create("Rosalind", BRIEF)
    await visit.quiet()
    shown = await visit.shown_answer()
    await visit.page.reload()
    await expect(visit.answer).to_be_visible()
    visit.streams.clear()
    await visit.page.reload()
    await expect(visit.test_id("version")).to_have_text("version 1")
    await visit.quiet()
    assert await visit.shown_answer() == shown
    await expect(visit.test_id("work-file").first).to_contain_text("Wrote")
    assert visit.streams == []
    await visit.page.locator('[data-testid="file"]', has_text="System prompt").click()
    prompt = (await visit.persona())["derived"]["system_prompt"]
    assert await visit.test_id("file-source").text_content() == prompt


async def test_what_is_sent_meanwhile_waits_for_its_turn(visit: Visit) -> None:
    await visit.open("#/chat", "demo-tokens-150-50")
    await visit.say("First")
    await expect(visit.answer).to_contain_text("t10")
    await visit.name_model("demo-echo-fast")
    await visit.say("Second")
    await expect(visit.test_id("turn-waiting")).to_contain_text("Second")
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    await expect(visit.answer).to_have_text("Second")
    said = [turn["text"] for turn in (await visit.conversation())["turns"]]
    assert said[0] == "First"
    assert said[2:] == ["Second", "Second"]


async def test_a_waiting_message_can_be_withdrawn(visit: Visit) -> None:
    await visit.open("#/chat", "demo-silent-after-3")
    await visit.say("First")
    await expect(visit.answer).not_to_be_empty()
    await visit.say("Never mind")
    await visit.test_id("turn-waiting").get_by_test_id("withdraw").click()
    await expect(visit.test_id("turn-waiting")).to_have_count(0)
    await visit.page.keyboard.press("Escape")
    await visit.quiet()
    assert (await visit.conversation())["turns"][0]["text"] == "First"
    await expect(visit.test_id("turn-user")).to_have_count(1)


async def test_a_failure_says_why_and_can_be_tried_again(visit: Visit) -> None:
    await visit.open("#/chat", "demo-truncated-after-4-fast")
    await visit.say("Break off")
    await expect(visit.test_id("turn-outcome")).to_be_visible()
    stored = await visit.committed_answer()
    failed = (await visit.api(f"/v1/generations/{stored['generation_id']}")).json()
    why = failed["error"]["message"]
    await expect(visit.test_id("turn-outcome")).to_contain_text(f"{why[0].upper()}{why[1:]}")
    await visit.name_model("demo-fast")
    await visit.test_id("retry").click()
    await expect(visit.test_id("turn-assistant")).to_have_count(2)
    await visit.quiet()
    assert (await visit.committed_answer())["partial"] is False


async def test_a_deleted_persona_is_gone_from_the_page(visit: Visit) -> None:
    await visit.open()
    await visit.create("Ephemera", BRIEF)
    await visit.quiet()
    ident = (await visit.persona())["id"]
    await visit.test_id("delete").click()
    await visit.test_id("confirm-delete").click()
    await expect(visit.test_id("new-persona-form")).to_be_visible()
    links = visit.test_id("personas").locator(f'a[href="#/personas/{ident}"]')
    await expect(links).to_have_count(0)
    await visit.open(f"#/personas/{ident}")
    await expect(visit.test_id("trouble")).to_contain_text("It is not there")
    await expect(visit.test_id("composer")).to_be_hidden()
    await visit.page.goto(f"{visit.url}/#/chat")
    await expect(visit.test_id("composer")).to_be_visible()


async def test_a_persona_that_never_came_to_be_is_made_anew(visit: Visit) -> None:
    await visit.open(model="demo-status-401")
    await visit.create("Phoenix", BRIEF)
    await expect(visit.test_id("turn-outcome")).to_be_visible()
    failed = (await visit.persona())["id"]
    await visit.name_model("demo-fast")
    await visit.test_id("retry").click()
    await expect(visit.test_id("version")).to_have_text("version 1")
    made = await visit.persona()
    assert made["name"] == "Phoenix"
    assert made["id"] != failed


async def test_files_that_the_model_must_mend_are_told_of(visit: Visit) -> None:
    # The answer begins once the page follows it: notices are not told after a reload.
    await visit.open(model="demo-invalidfiles-fast-delay-1500")
    await visit.create("Loki", BRIEF)
    await expect(visit.test_id("version")).to_have_text("version 1")
    await visit.quiet()
    await expect(visit.test_id("work-notice")).to_have_count(7)
    paths = [file["path"] for file in (await visit.persona())["files"]]
    for path in paths:
        await expect(visit.page.locator(f'[data-path="{path}"]')).to_be_visible()
    await expect(visit.test_id("file")).to_have_count(len(paths) + 1)
