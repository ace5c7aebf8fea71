"""A file's text is fetched once, and not at all where it was streamed to the page."""

from playwright.async_api import Request, Route, expect

from tests.browser.visit import Visit


def fetched(visit: Visit) -> list[str]:
    """The files that the page asks for from now on."""
    asked: list[str] = []

    def see(request: Request) -> None:
        if "/files/" in request.url:
            asked.append(request.url.partition("/files/")[2])

    visit.page.on("request", see)
    return asked


async def read(visit: Visit, path: str) -> None:
    """Open a file, and wait until it shows what is stored."""
    await visit.page.locator(f'[data-testid="file"][data-path="{path}"]').click()
    await visit.test_id("source").click()
    text = await visit.persona_file(path)
    await expect(visit.test_id("file-source")).to_have_text(text, use_inner_text=False)


async def test_a_file_that_was_streamed_is_not_fetched_and_another_is_once(visit: Visit) -> None:
    # Slow enough to be seen: what was written before the page listens is not streamed to it.
    await visit.open(model="demo-pace-150")
    asked = fetched(visit)
    await visit.create("Ada", "A patient tutor.")
    await visit.quiet()
    await read(visit, "persona.md")
    await read(visit, "voice.md")
    assert asked == []
    await visit.page.reload()
    await read(visit, "persona.md")
    await read(visit, "voice.md")
    await read(visit, "persona.md")
    assert asked.count("persona.md?version=1") == 1
    assert asked.count("voice.md?version=1") == 1


async def test_a_file_that_could_not_be_loaded_is_loaded_again(visit: Visit) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=500, json={"detail": "Something broke."})

    await visit.open()
    await visit.create("Ada", "A patient tutor.")
    await visit.quiet()
    await visit.page.route("**/files/*", refuse)
    await visit.page.reload()
    again = visit.page.get_by_role("button", name="Load it again")
    await expect(again).to_be_visible()
    async with visit.page.expect_response("**/files/*") as refused:
        await again.click()
    assert (await refused.value).status == 500
    await expect(again).to_be_visible()
    await visit.page.unroute("**/files/*")
    await again.click()
    await expect(again).to_be_hidden()
    await read(visit, "persona.md")
