"""A worker dies by SIGKILL in mid-stream: each client has the committed text, or a failure."""

import asyncio
from pathlib import Path

from tests.clients.cutter import Cut
from tests.clients.npm.node import drive
from tests.clients.npm.test_ag_ui import last, page, run, say
from tests.clients.npm.test_ai_sdk import answers, chat, send, tab, text_in
from tests.clients.npm.test_event_source import LIBRARIES
from tests.clients.npm.test_openai import done, output_text
from tests.clients.npm.test_openai import text_of as openai_text_of
from tests.clients.openai_python import generation_of
from tests.clients.place import open_place
from tests.clients.told import SAID, told
from tests.jobs.worker_process import start_worker
from tests.relay.heard import text_of
from tests.services import eventually

MODEL = "demo-echo-pace-20"
ENOUGH = 12
"""Events after which every client has some of its text."""


async def test_no_client_takes_a_lost_workers_text_for_the_whole(
    redis_url: str, sqlite_url: str, tmp_path: Path, node: Path
) -> None:
    async with open_place(redis_url, sqlite_url, tmp_path, relay_lease_seconds=1.0) as place:
        plans = [place.plan(Cut(999)) for _ in range(len(LIBRARIES) + 3)]
        *sources, chatting, running, responding = plans
        generation_id = await place.chat(SAID, MODEL)
        path = f"/v1/generations/{generation_id}/events"
        with start_worker(place.work.settings, tmp_path / "worker.log") as worker:
            async with asyncio.TaskGroup() as clients:
                followed = [
                    clients.create_task(
                        drive(
                            node,
                            "event_source.mjs",
                            {"library": library, "urls": [f"{place.url}{plan.path}{path}"]},
                        )
                    )
                    for library, plan in zip(LIBRARIES, sources, strict=True)
                ]
                asked = page(place, "k", MODEL, say(), path=running.path)
                ran = clients.create_task(run(node, asked))
                sent = tab(place, "k", MODEL, send(), path=chatting.path)
                chatted = clients.create_task(chat(node, sent))
                body = {"model": MODEL, "input": SAID}
                wanted = {"do": "follow", "url": place.url + responding.path, "body": body}
                responded = clients.create_task(done(node, wanted))
                await eventually(lambda: all(one.passed >= ENOUGH for one in plans), within=30)
                await place.work.hire()
                worker.kill()
        for reader in followed:
            [found] = reader.result()
            events = told(found["events"])
            resets = [one.data["reason"] for one in events if one.event == "reset"]
            assert resets == ["worker_lost"]
            assert text_of(events) == SAID == await place.committed(generation_id)
        [[shown]] = chatted.result()
        [answered] = answers(shown)
        assert shown["status"] == "ready"
        assert text_in(answered) == SAID == await place.committed(answered["id"])
        assert (await place.ended(answered["id"]))["attempt"] == 2
        [response] = responded.result()
        final = response["events"][-1]
        assert final["type"] == "response.failed"
        assert final["response"]["error"]["message"].startswith("worker_lost: ")
        assert output_text(final["response"]) == openai_text_of(response["events"])
        kept = await place.committed(generation_of(response["id"]))
        assert output_text(final["response"]) == kept
        assert 0 < len(kept) < len(SAID)
        [[ended]] = ran.result()
        assert (last(ended)["type"], last(ended)["code"]) == ("RUN_ERROR", "worker_lost")
        left = ended["messages"][-1]
        assert left["content"] == await place.committed(left["id"])
        assert 0 < len(left["content"]) < len(SAID)
