"""`useChat`'s state machine, unmodified: what it shows is the committed answer, or an error."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.clients.cutter import Cut, everywhere
from tests.clients.npm.node import drive
from tests.clients.place import Place
from tests.clients.told import DICTATED, SAID
from tests.services import eventually

Shown = dict[str, Any]

RESUME = {"act": "resume"}


async def chat(node: Path, *tabs: dict[str, Any]) -> list[list[Shown]]:
    """What each tab showed after each of its steps; all run at once."""
    found: list[list[Shown]] = await drive(node, "ai_sdk.mjs", tabs)
    return found


def tab(
    place: Place, ident: str, model: str, *steps: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """A tab on this chat; `path` is a plan's, all else goes into the transport's body."""
    api, version = f"{place.url}{more.pop('path', '')}/ai/chat", more.pop("version", 7)
    body = {"model": model, **more}
    return {"api": api, "id": ident, "version": version, "body": body, "steps": list(steps)}


def send(text: str = SAID) -> dict[str, Any]:
    return {"act": "send", "text": text}


def answers(shown: Shown) -> list[Any]:
    """The answers that it shows."""
    return [one for one in shown["messages"] if one["role"] == "assistant"]


def text_in(message: Any) -> str:
    """Its text, over all its parts."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


async def test_a_message_is_answered_with_what_is_committed(place: Place, node: Path) -> None:
    await place.work.hire()
    [[first, second]] = await chat(node, tab(place, "a/ü 1", "demo-fast-echo", send("one"), send()))
    assert (first["status"], second["status"]) == ("ready", "ready")
    assert [text_in(one) for one in answers(second)] == ["one", SAID]
    for message in answers(second):
        assert text_in(message) == await place.committed(message["id"])
        assert all(part.get("state", "done") == "done" for part in message["parts"])
        assert message["metadata"]["usage"]["output_tokens"] > 0
    generation = await place.ended(answers(second)[1]["id"])
    conversation = await place.http.get(f"/v1/conversations/{generation['conversation_id']}")
    assert len(conversation.json()["turns"]) == 4


async def test_a_live_answer_cut_anywhere_is_an_error_and_then_resumed_whole(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    plans = [place.plan(cut) for cut in everywhere(range(12))]
    tabs = [
        tab(place, plan.path, "demo-echo-pace-25", send(), RESUME, path=plan.path) for plan in plans
    ]
    for plan, (cut, resumed) in zip(plans, await chat(node, *tabs), strict=True):
        assert plan.made == 1
        assert cut["status"] == "error"
        assert resumed["status"] == "ready"
        [answered] = answers(resumed)
        assert text_in(answered) == SAID == await place.committed(answered["id"])
        assert len(resumed["messages"]) == 2


async def test_a_replay_cut_anywhere_is_whole_or_an_error_and_then_resumed_whole(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    brief = json.dumps(DICTATED)
    making = {"kind": "generate", "name": "Ada"}
    [[whole]] = await chat(node, tab(place, "ada", "demo-fast-dictated", send(brief), **making))
    [answered] = answers(whole)
    replay = await place.http.get("/ai/chat/ada/stream")
    plans = [place.plan(cut) for cut in everywhere(replay.text.split("\n\n")[:-1], first=0)]
    tabs = [tab(place, "ada", "", RESUME, RESUME, path=plan.path) for plan in plans]
    for plan, (cut, resumed) in zip(plans, await chat(node, *tabs), strict=True):
        assert plan.made == 1
        if cut["status"] != "error":
            assert answers(cut) == [answered]
        assert resumed["status"] == "ready"
        assert answers(resumed) == [answered]
    assert sum(cut["status"] == "error" for cut, _ in await chat(node, *tabs)) == 0


async def test_a_persona_is_made_and_refined_in_one_chat_with_its_files_as_parts(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    again = {"rounds": [{"text": "Mended.", "calls": [
        {"name": "write_file", "arguments": {"path": "persona.md", "content": "# Two\n"}}
    ]}, {"text": "Done."}]}  # fmt: skip
    steps = (send(json.dumps(DICTATED)), send(json.dumps(again)))
    making = {"kind": "generate", "name": "Ada"}
    [[made, refined]] = await chat(node, tab(place, "x", "demo-fast-dictated", *steps, **making))
    first, second = answers(refined)
    assert answers(made) == [first]
    kinds = [part["type"] for part in first["parts"]]
    assert kinds == ["step-start", "text", "data-file", "data-notice", "data-skill", "text"]
    assert first["parts"][2]["data"]["path"] == "persona.md"
    assert {part["type"] for part in made["transient"]} == {
        "data-file-delta", "data-file", "data-notice", "data-skill"
    }  # fmt: skip
    persona = (await place.http.get(f"/v1/personas/{first['metadata']['persona_id']}")).json()
    assert (persona["name"], persona["version"]) == ("Ada", 2)
    [written] = [part["data"] for part in second["parts"] if part["type"] == "data-file"]
    assert written["sha256"] in {one["sha256"] for one in persona["files"]}
    assert second["metadata"]["persona_version"] == 2


async def test_a_tab_that_was_closed_or_reloaded_is_shown_the_answer_whole(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    leave = {"act": "leave", "text": SAID, "characters": 5}
    tabs = [
        tab(
            place,
            f"chat {keep}",
            "demo-echo-pace-40",
            leave,
            {"act": "reload", "keep": keep},
            RESUME,
        )
        for keep in ("user", "all")
    ]
    for left, _, resumed in await chat(node, *tabs):
        assert 5 <= len(text_in(answers(left)[0])) < len(SAID)
        assert resumed["status"] == "ready"
        assert [text_in(one) for one in answers(resumed)] == [SAID]
        assert len(resumed["messages"]) == 2


async def test_a_stop_keeps_the_text_so_far_and_ends_every_tab(place: Place, node: Path) -> None:
    await place.work.hire()
    stop = {"act": "stop", "text": SAID, "characters": 5}
    [[stopped]] = await chat(node, tab(place, "s", "demo-echo-pace-20", stop))
    assert stopped["stopped"] == [200, {"success": True}]
    assert stopped["status"] == "ready"
    [answered] = answers(stopped)
    assert (await place.ended(answered["id"]))["state"] == "cancelled"
    assert text_in(answered) == await place.committed(answered["id"])
    assert 5 <= len(text_in(answered)) < len(SAID)
    [[replayed, after]] = await chat(node, tab(place, "s", "demo-fast-echo", RESUME, send("more")))
    assert answers(replayed) == [answered]
    assert [text_in(one) for one in answers(after)] == [text_in(answered), "more"]


async def test_an_answer_is_regenerated_in_its_place(place: Place, node: Path) -> None:
    await place.work.hire()
    steps = (send("one"), send("two"), {"act": "regenerate"}, send("three"))
    [shown] = await chat(node, tab(place, "r", "demo-fast-echo", *steps))
    [_, before], [_, after], [*_, last] = (answers(step) for step in shown[1:])
    assert text_in(before) == text_in(after) == "two"
    assert before["id"] != after["id"]
    assert text_in(last) == "three"
    # Neither the answer that was replaced nor its question twice was shown to the model.
    asked = (await place.work.requests())[-1]["messages"]
    said = [one["content"] for one in asked if one["role"] in ("user", "assistant")]
    assert said == ["one", "one", "two", "two", "three"]


async def test_the_model_is_shown_what_the_page_shows_after_an_edit(
    place: Place, node: Path
) -> None:
    await place.work.hire()
    said = (send("one"), send("two"), send("three"))
    edits = [
        ({"act": "edit", "at": 2, "text": "II"}, ["one", "II", "four"]),
        ({"act": "edit", "at": 0, "text": "one"}, ["one", "four"]),
        ({"act": "regenerate", "at": 3}, ["one", "two", "four"]),
    ]
    for number, (edit, left) in enumerate(edits):
        steps = (*said, edit, send("four"))
        [shown] = await chat(node, tab(place, f"edit {number}", "demo-fast-echo", *steps))
        page = [(one["role"], text_in(one)) for one in shown[-1]["messages"]]
        assert [words for role, words in page if role == "user"] == left
        asked = (await place.work.requests())[-1]["messages"][1:]
        assert [(one["role"], one["content"]) for one in asked] == page[:-1]


async def test_a_message_that_is_sent_twice_is_answered_once(place: Place, node: Path) -> None:
    await place.work.hire()
    message = {"id": "mine", "role": "user", "parts": [{"type": "text", "text": SAID}]}
    once = {"act": "again", "message": message}
    shown = await chat(node, *[tab(place, "t", "demo-echo-pace-100", once)] * 3)
    [ids] = {tuple(one["id"] for one in answers(last)) for [last] in shown}
    assert len(ids) == 1
    assert {text_in(answers(last)[0]) for [last] in shown} == {SAID}


async def test_a_chat_that_nobody_knows_is_quiet_and_a_refusal_is_shown_in_words(
    place: Place, node: Path
) -> None:
    shown = await chat(
        node, tab(place, "nobody", "", RESUME), tab(place, "no", "demo", send("x" * 100_001))
    )
    assert (shown[0][0]["status"], shown[0][0]["messages"]) == ("ready", [])
    assert shown[1][0]["status"] == "error"
    assert shown[1][0]["error"] == "messages: has over 100000 characters of input"


async def test_a_failed_answer_is_an_error_with_the_reason(place: Place, node: Path) -> None:
    await place.work.hire()
    [[shown]] = await chat(node, tab(place, "f", "demo-fast-echo-truncated-after-5", send()))
    assert shown["status"] == "error"
    assert shown["error"].startswith("model_truncated: ")
    assert text_in(answers(shown)[0]) == SAID[:5]


async def test_a_second_attempt_takes_back_what_the_first_one_said(
    place: Place, node: Path
) -> None:
    first = await place.work.hire(grace=0)
    plan = place.plan(Cut(99))
    chatting = asyncio.create_task(
        chat(node, tab(place, "h", "demo-echo-pace-20", send(), path=plan.path))
    )
    await eventually(lambda: plan.passed > 8, within=20)
    await first.dismiss()
    await place.work.hire()
    [[shown]] = await chatting
    [answered] = answers(shown)
    assert shown["status"] == "ready"
    assert text_in(answered) == SAID == await place.committed(answered["id"])
    assert (await place.ended(answered["id"]))["attempt"] == 2


async def test_the_former_version_does_the_same_but_for_a_second_attempt(
    place: Place, node: Path
) -> None:
    first = await place.work.hire(grace=0)
    edit = {"act": "edit", "at": 0, "text": "two"}
    stop = {"act": "stop", "text": SAID, "characters": 5}
    cut, lost = place.plan(Cut(9, inside=True)), place.plan(Cut(99))
    model = "demo-echo-pace-20"
    shown = await chat(
        node,
        tab(place, "a", "demo-fast-echo", send("one"), edit, {"act": "regenerate"}, version=6),
        tab(place, "b", model, stop, version=6),
        tab(place, "c", model, send(), RESUME, path=cut.path, version=6),
    )
    assert [answers(one)[-1]["parts"][-1]["text"] for one in shown[0]] == ["one", "two", "two"]
    assert [len(one["messages"]) for one in shown[0]] == [2, 2, 2]
    assert shown[1][0]["status"] == "ready"
    assert text_in(answers(shown[1][0])[0]) == await place.committed(answers(shown[1][0])[0]["id"])
    assert [one["status"] for one in shown[2]] == ["error", "ready"]
    assert text_in(answers(shown[2][1])[0]) == SAID
    chatting = asyncio.create_task(
        chat(node, tab(place, "d", model, send(), RESUME, path=lost.path, version=6))
    )
    await eventually(lambda: lost.passed > 8, within=20)
    await first.dismiss()
    await place.work.hire()
    [[began_anew, resumed]] = await chatting
    # It does not know that what it has can be taken back.
    assert (began_anew["status"], resumed["status"]) == ("error", "ready")
    assert [text_in(one) for one in answers(resumed)] == [SAID]
