"""A visitor of the page: what a person does with it, and what the API says of the same thing."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from playwright.async_api import ConsoleMessage, Locator, Page, Request, Route, expect

ARTIFACTS = Path(__file__).parents[2] / "artifacts" / "browser"
FRAMES = """new Promise((done) => {
  let left = 30;
  const next = () => (left-- > 0 ? requestAnimationFrame(next) : done());
  next();
})"""
SETTLED = """() => {
  try {
    return !Object.keys(sessionStorage).some((key) => key.startsWith("relay-sent "));
  } catch {
    return true;
  }
}"""
LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)


class Visit:
    """One tab. `url` is where the page is opened; `api` asks the same server behind its back."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.troubles: list[str] = []
        self.streams: list[Request] = []
        self.left: list[Request] = []
        page.on("pageerror", lambda error: self.troubles.append(f"script error: {error}"))
        page.on("console", self._hear)
        page.on("request", self._see)
        page.on("requestfailed", self._see_left)

    def _hear(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.troubles.append(message.text)

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.troubles.append(f"foreign request: {request.url}")
        if request.url.endswith("/events"):
            self.streams.append(request)

    def _see_left(self, request: Request) -> None:
        if request.url.endswith("/events"):
            self.left.append(request)

    def test_id(self, name: str) -> Locator:
        """The elements with this test id."""
        return self.page.get_by_test_id(name)

    async def open(self, place: str = "#/", model: str = "demo-fast") -> None:
        """Open a place of the page and name the model that new generations ask for."""
        await self.page.goto(f"{self.url}/{place}")
        await self.name_model(model)

    async def name_model(self, model: str) -> None:
        """Change the model in the tab's settings, as a person would."""
        settings = self.test_id("settings")
        if await settings.get_attribute("open") is None:
            await settings.locator("summary").click()
        await self.test_id("model-input").fill(model)
        await self.test_id("model-input").blur()

    async def create(self, name: str, brief: str) -> None:
        """Fill the form and send it; returns when the persona's own page is there."""
        await self.test_id("name").fill(name)
        await self.test_id("brief").fill(brief)
        await self.test_id("create").click()
        await expect(self.test_id("title")).to_have_text(name)

    async def say(self, text: str) -> None:
        """Type into the composer and press Enter."""
        await self.test_id("composer").fill(text)
        await self.test_id("composer").press("Enter")

    async def accepted(self) -> None:
        """Wait until nothing that was said is on its way any more."""
        await self.page.wait_for_function(SETTLED)

    @property
    def followed(self) -> str:
        """The id of the generation whose events were asked for last."""
        return self.streams[-1].url.split("/")[-2]

    @property
    def reads(self) -> bool:
        """Whether it asked for a stream that it has not left; else another tab reads for it."""
        return len(self.left) < len(self.streams)

    @property
    def answer(self) -> Locator:
        """The words of the newest answer."""
        return self.test_id("turn-assistant").last.get_by_test_id("words")

    async def quiet(self) -> None:
        """Wait until an answer is there and none is being written."""
        await expect(self.test_id("turn-assistant").last).to_be_visible()
        await expect(self.test_id("stop")).to_be_hidden()
        await expect(self.page.locator(".is-live")).to_have_count(0)

    async def shown_answer(self) -> str:
        """The newest answer's paragraphs as the page holds them, two line ends apart."""
        script = "words => [...words.children].map(child => child.textContent).join('\\n\\n')"
        text: str = await self.answer.evaluate(script)
        return text.rstrip()

    async def shown_words(self) -> list[str]:
        """The newest answer's words as a person reads them."""
        return words(await self.answer.inner_text())

    async def drawn(self) -> None:
        """Wait until the page has had many frames to draw what it knows."""
        await self.page.evaluate(FRAMES)

    async def watch(self) -> None:
        """Record every state of the newest answer and of the open file, from now on."""
        await self.page.evaluate(
            """() => {
              window.watched = { answers: [], files: [] };
              const last = (id) => [...document.querySelectorAll(`[data-testid="${id}"]`)].at(-1);
              const note = (list, text) => { if (text && text !== list.at(-1)) list.push(text); };
              new MutationObserver(() => {
                const answer = last("turn-assistant")?.querySelector('[data-testid="words"]');
                note(window.watched.answers, answer?.textContent);
                if (last("file-state")?.textContent === "writing…")
                  note(window.watched.files, last("file-source").textContent);
              }).observe(document.body, { subtree: true, childList: true, characterData: true });
            }"""
        )

    async def watched(self, what: str) -> list[str]:
        """What `watch` recorded: of `answers`, or of `files`."""
        states: list[str] = await self.page.evaluate("what => window.watched[what]", what)
        return states

    @asynccontextmanager
    async def nothing_read_again(self) -> AsyncIterator[None]:
        """Hold back the stored turns from every tab: what is shown within came by the stream."""
        over = asyncio.Event()

        async def hold(route: Route) -> None:
            await over.wait()
            await route.continue_()

        await self.page.context.route("**/v1/conversations/*", hold)
        try:
            yield
        finally:
            over.set()
            await self.page.context.unroute_all(behavior="wait")

    async def assert_streamed(self, stored: str, *, after: str = "") -> None:
        """Every state that `watch` recorded is a beginning of this text, and the last is all of it.

        `after` is the former answer, shown when the watching began. Within `nothing_read_again`:
        otherwise the last state may be what was stored.
        """
        states = [state for state in await self.watched("answers") if state.rstrip() != after]
        assert len(states) > 5
        assert [state for state in states if not stored.startswith(state.rstrip())] == []
        assert states[-1].rstrip() == stored.rstrip()
        assert await self.shown_answer() == stored.rstrip()

    async def api(self, path: str) -> httpx.Response:
        """GET a path of the API; fails on a refusal."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as client:
            answer = await client.get(path)
        return answer.raise_for_status()

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST to the API; fails on a refusal."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            answer = await client.post(path, json=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def keep_screenshot(self, name: str) -> Path:
        """Keep the page as it looks now among the run's artefacts."""
        path = ARTIFACTS / f"{name}.png"
        await self.page.screenshot(path=path)
        return path

    async def conversation(self) -> dict[str, Any]:
        """The conversation that the page shows, as the API gives it."""
        kind, ident = self.page.url.partition("#/")[2].split("/")
        if kind == "personas":
            ident = (await self.persona())["conversation_id"]
        found: dict[str, Any] = (await self.api(f"/v1/conversations/{ident}")).json()
        return found

    async def persona(self) -> dict[str, Any]:
        """The persona that the page shows, as the API gives it."""
        ident = self.page.url.rpartition("/")[2]
        found: dict[str, Any] = (await self.api(f"/v1/personas/{ident}")).json()
        return found

    async def persona_file(self, path: str) -> str:
        """A committed file of that persona."""
        ident = self.page.url.rpartition("/")[2]
        return (await self.api(f"/v1/personas/{ident}/files/{quote(path)}")).text

    async def generation(self) -> dict[str, Any]:
        """The generation of the newest turn, as the API gives it."""
        turn = (await self.conversation())["turns"][-1]
        found: dict[str, Any] = (await self.api(f"/v1/generations/{turn['generation_id']}")).json()
        return found

    async def committed_answer(self) -> dict[str, Any]:
        """The newest assistant turn that is stored."""
        turns = (await self.conversation())["turns"]
        found: dict[str, Any] = [turn for turn in turns if turn["role"] == "assistant"][-1]
        return found


def words(text: str) -> list[str]:
    """The words of a text, without Markdown's marks."""
    return re.findall(r"\w+", LIST_NUMBER.sub("", text))
