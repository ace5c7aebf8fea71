"""Two relays, a real worker, the scripted model: from any event's id, on either, exactly the rest.

While it runs, with its log lost in mid-run, after its end with the log and with SQL alone, and of
a second attempt.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs import keys
from jobs.cursor import Cursor
from relay.app import create_app
from relay.settings import RelaySettings
from tests.jobs.at_work import Work, at_work
from tests.relay.heard import Heard, assert_is_the_rest, heard, text_of
from tests.relay.raw_reader import RawAnswer, ask
from tests.services import eventually, live_server

SAID = 'ChidÉ 🎉 says: "quotes", a tab\t, a line\n and 漢字. ' * 2
BRIEF = {"name": "Ada", "brief": "An engineer who answers in verse."}
REFINED = {
    "rounds": [
        {
            "text": "I'll mend ChidÉ 🎉 first.",
            "calls": [
                {
                    "name": "write_file",
                    "arguments": {"path": "voice.md", "content": "# Vóice 🎉\n"},
                },
                {"name": "write_file", "arguments": {"path": "../../etc/passwd", "content": "x"}},
                {"name": "use_skill", "arguments": {"name": "negotiation"}},
            ],
        },
        {
            "text": "And the rest is done: ChidÉ 🎉.",
            "calls": [
                {"name": "write_file", "arguments": {"path": "notes/É.md", "content": "one\n" * 9}}
            ],
        },
        {"text": "All good."},
    ]
}


@dataclass(slots=True)
class Fleet:
    """Two relays and where generations are made; workers are hired by the test."""

    work: Work
    urls: tuple[str, str]
    client: httpx.AsyncClient
    _stack: AsyncExitStack = field(repr=False)

    async def post(self, path: str, body: dict[str, Any]) -> str:
        """The id of what this starts."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def chat(self, model: str) -> str:
        """A chat that echoes SAID."""
        return await self.post("/v1/generations", {"kind": "chat", "input": SAID, "model": model})

    async def refine(self, model: str) -> str:
        """A refine of a persona: rounds of text, files, a skill and a notice."""
        made = await self.post("/v1/personas", {**BRIEF, "model": "demo-fast"})
        persona = (await self.ended(made))["persona_id"]
        body = {"message": json.dumps(REFINED), "model": model}
        return await self.post(f"/v1/personas/{persona}/refine", body)

    async def ended(self, generation_id: str) -> dict[str, Any]:
        """The resource once it has ended."""

        async def has_ended() -> bool:
            found = (await self.client.get(f"/v1/generations/{generation_id}")).json()
            return found["state"] not in ("queued", "running")

        await eventually(has_ended, within=20)
        found: dict[str, Any] = (await self.client.get(f"/v1/generations/{generation_id}")).json()
        return found

    async def join(self, generation_id: str, cursor: str | None, relay: int) -> RawAnswer:
        """A reader at this cursor on one of the relays, read in a task."""
        url = f"{self.urls[relay % 2]}/v1/generations/{generation_id}/events"
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        answer = await self._stack.enter_async_context(ask(url, headers=headers))
        assert answer.status == 200
        answer.start()
        return answer

    async def join_at_all(
        self, generation_id: str, events: Sequence[Heard]
    ) -> list[tuple[RawAnswer, str]]:
        """A reader at each of these events, by turns on either relay."""
        return [
            (await self.join(generation_id, str(one.id), number), str(one.id))
            for number, one in enumerate(events)
        ]

    async def lose_log(self, generation_id: str) -> None:
        """Redis loses the log; what it had is put aside for `logged`."""
        assert await self.work.redis.rename(keys.log(generation_id), f"lost:{generation_id}")

    async def logged(self, generation_id: str) -> list[Heard]:
        """Every event that ever stood in the log of an ended generation's attempt."""
        found: dict[Cursor, Heard] = {}
        for key in (f"lost:{generation_id}", keys.log(generation_id)):
            for _, fields in await self.work.redis.xrange(key):
                for one in heard([fields[b"f"]]):
                    assert found.setdefault(one.cursor, one) == one, "the same id, other bytes"
        return [found[cursor] for cursor in sorted(found)]


async def assert_all_got_the_rest(
    readers: Sequence[tuple[RawAnswer, str]], whole: Sequence[Heard], *, previews_kept: bool
) -> None:
    """Each was told exactly what follows its cursor, and its body came to a proper end."""
    cursors = {str(one.id): one.cursor for one in whole}
    for reader, cursor in readers:
        told = await reader.finish()
        assert reader.finished
        assert_is_the_rest(told, whole, cursors[cursor], previews_kept=previews_kept)


async def assert_rest_at_every_cut(
    fleet: Fleet, generation_id: str, whole: Sequence[Heard], *, previews_kept: bool
) -> None:
    """Of an ended one: every cut on both relays, the start, and 204 after the end."""
    for shift in (0, 1):
        readers = [
            (await fleet.join(generation_id, str(one.id), number + shift), str(one.id))
            for number, one in enumerate(whole[:-1])
        ]
        await assert_all_got_the_rest(readers, whole, previews_kept=previews_kept)
        fresh = await fleet.join(generation_id, None, shift)
        assert_is_the_rest(await fresh.finish(), whole, previews_kept=previews_kept)
        url = f"{fleet.urls[shift]}/v1/generations/{generation_id}/events"
        async with ask(url, headers={"Last-Event-ID": str(whole[-1].id)}) as answer:
            assert answer.status == 204


@pytest.fixture
async def fleet(redis_url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two relays over both kinds of database."""
    async with at_work(redis_url, database_url, tmp_path) as work, AsyncExitStack() as stack:
        settings = RelaySettings(jobs=work.settings, relay_auth="off", relay_owner_streams=0)
        left, right = [
            await stack.enter_async_context(live_server(create_app(settings))) for _ in range(2)
        ]
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=left, timeout=20))
        readers = await stack.enter_async_context(AsyncExitStack())
        yield Fleet(work, (left, right), client, readers)


async def read_and_join_while_it_runs(
    fleet: Fleet, generation_id: str, *, lose_log_after: int | None = None
) -> tuple[list[Heard], list[tuple[RawAnswer, str]]]:
    """All events as the first reader heard them, and a reader that joined at each of them."""
    first = await fleet.join(generation_id, None, 0)
    others: list[tuple[RawAnswer, str]] = []
    assert first.task is not None
    lost = False
    while not first.task.done():
        told = [one for one in first.events if one.cursor.attempt > 0]
        if lose_log_after is not None and not lost and len(told) >= lose_log_after:
            await fleet.lose_log(generation_id)
            lost = True
        fresh = [one for one in told[len(others) :] if one.event != "completed"]
        others += await fleet.join_at_all(generation_id, fresh)
        await asyncio.wait([first.task], timeout=0.01)
    assert lost == (lose_log_after is not None)
    return [one for one in await first.finish() if one.cursor.attempt > 0], others


@pytest.mark.parametrize("kind", ["chat", "refine"])
async def test_every_cut_while_it_runs_and_after_its_end_with_the_log_and_without(
    fleet: Fleet, kind: str
) -> None:
    await fleet.work.hire()
    if kind == "chat":
        generation_id = await fleet.chat("demo-echo-pace-200")
    else:
        generation_id = await fleet.refine("demo-dictated-pace-60")
    told, readers = await read_and_join_while_it_runs(fleet, generation_id)
    ended = await fleet.ended(generation_id)
    whole = await fleet.logged(generation_id)
    assert_is_the_rest(told, whole)
    assert len(readers) > 10
    await assert_all_got_the_rest(readers, whole, previews_kept=True)
    assert text_of(whole) == ended["output"]["text"]
    turns = (await fleet.client.get(f"/v1/conversations/{ended['conversation_id']}")).json()
    assert turns["turns"][-1]["text"] == text_of(whole)
    names = {one.event for one in whole}
    if kind == "chat":
        assert text_of(whole) == SAID
        assert names == {"status", "token", "completed"}
    else:
        assert names == {
            "status", "token", "file_delta", "file", "skill", "notice", "completed"
        }  # fmt: skip
        assert ended["output"]["persona_version"] == 2
    await assert_rest_at_every_cut(fleet, generation_id, whole, previews_kept=True)
    await fleet.lose_log(generation_id)
    await assert_rest_at_every_cut(fleet, generation_id, whole, previews_kept=False)


@pytest.mark.parametrize("kind", ["chat", "refine"])
async def test_every_cut_while_the_log_is_lost_in_mid_run(fleet: Fleet, kind: str) -> None:
    await fleet.work.hire()
    if kind == "chat":
        generation_id = await fleet.chat("demo-echo-pace-200")
    else:
        generation_id = await fleet.refine("demo-dictated-pace-60")
    told, readers = await read_and_join_while_it_runs(fleet, generation_id, lose_log_after=12)
    whole = await fleet.logged(generation_id)
    assert_is_the_rest(told, whole, previews_kept=False)
    assert text_of(whole) == (await fleet.ended(generation_id))["output"]["text"]
    await assert_all_got_the_rest(readers, whole, previews_kept=False)
    for reader, _ in readers:
        assert "reset" not in {one.event for one in reader.events}


async def test_every_cut_of_a_second_attempt(fleet: Fleet) -> None:
    first_worker = await fleet.work.hire(grace=0)
    generation_id = await fleet.chat("demo-echo-pace-100")
    watching = await fleet.join(generation_id, None, 0)
    await watching.hears(15)
    await first_worker.dismiss()
    await fleet.work.hire()
    old = [one for one in watching.events if one.cursor.attempt == 1]
    returning = await fleet.join_at_all(generation_id, old)
    told = await watching.finish()
    whole = await fleet.logged(generation_id)
    assert_is_the_rest([one for one in told if one.cursor.attempt == 2], whole)
    assert whole[0].data == {"reason": "handed_over", "attempt": 2}
    assert text_of(told) == SAID == (await fleet.ended(generation_id))["output"]["text"]
    for reader, _ in (*returning, *await fleet.join_at_all(generation_id, old)):
        told = await reader.finish()
        assert_is_the_rest([one for one in told if one.cursor.attempt == 2], whole)
    await assert_rest_at_every_cut(fleet, generation_id, whole, previews_kept=True)
    await fleet.lose_log(generation_id)
    await assert_rest_at_every_cut(fleet, generation_id, whole, previews_kept=False)


async def test_a_started_stream_carries_everything_from_the_first_event_on(fleet: Fleet) -> None:
    await fleet.work.hire()
    body = json.dumps({"kind": "chat", "input": SAID, "model": "demo-fast-echo"}).encode()
    for relay in (0, 1) * 5:
        url = f"{fleet.urls[relay]}/v1/generations?stream=true"
        async with ask(url, method="POST", body=body) as answer:
            told = await answer.finish()
            assert [one.id for one in told[:2]] == ["0.1.0", "1.1.0"]
            assert text_of(told) == SAID
            assert told[-1].event == "completed"
            assert heard(answer.chunks) == told
