"""Generations from the command line: found whoever's they are, ended, asked for once more."""

from typing import Any

import pytest

from jobs.generation import Failure, Kind, State, Usage
from jobs.store.claims import beat
from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts, change, outcome

FAILED = outcome("half", State.FAILED, error=Failure("model_error", "it broke\n\x1b[2Jhere", True))


async def _one(acts: Acts, text: str = "hi", **fields: Any) -> str:
    return (await acts.accept(text=text, **fields)).generation.id


def test_the_list_is_everybodys_newest_first_and_can_be_narrowed(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> list[str]:
        accepted = await acts.accept(owner="bob")
        await acts.run(accepted)
        return [accepted.generation.id, await _one(acts), await _one(acts, kind=Kind.GENERATE)]

    ids = does(stored)

    def listed(*options: str) -> list[str]:
        page = terminal.run("generations", "list", "--json", *options).json
        return [one["id"] for one in page["data"]]

    assert listed() == ids[::-1]
    assert listed("--owner", "bob") == ids[:1]
    assert listed("--state", "queued") == [ids[2], ids[1]]
    assert listed("--kind", "generate") == ids[2:]
    page = terminal.run("generations", "list", "--json", "--limit", "2").json
    assert [one["owner"] for one in page["data"]] == ["ann", "ann"]
    assert listed("--cursor", page["next_cursor"]) == ids[:1]
    assert terminal.run("generations", "list", "--cursor", "x").refused("cursor")


def test_the_table_names_the_owner_and_the_reason(terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> str:
        accepted = await acts.accept(text="what\nis \x1b[31mthis")
        await acts.run(accepted, FAILED)
        await _one(acts)
        return accepted.generation.id

    id = does(stored)
    ran = terminal.run("generations", "list")
    rows = ran.out.splitlines()
    assert len(rows) == 3
    assert rows[2].startswith(f"{id}  ann    chat  failed (model_error)  1 ")
    assert "what is \\u001b[31mthis" in rows[2]
    limited = terminal.run("generations", "list", "--limit", "1")
    assert limited.err.startswith("more: --cursor gen_")


def test_a_generation_is_shown_with_its_text(terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> str:
        accepted = await acts.accept(text="hello")
        await acts.run(accepted, outcome("ChidÉ 🎉\nbye", usage=Usage(3, 5)))
        return accepted.generation.id

    id = does(stored)
    ran = terminal.run("generations", "show", id)
    assert ran.status == 0
    assert "tokens         3 in, 5 out\n" in ran.out
    assert ran.out.endswith("\ninput:\nhello\n\noutput (11 characters):\nChidÉ 🎉\nbye\n")
    shown = terminal.run("generations", "show", id, "--json").json
    assert shown["owner"] == "ann"
    assert shown["output"]["text"] == "ChidÉ 🎉\nbye"


def test_a_failed_one_is_shown_with_its_reason_on_one_line(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> str:
        accepted = await acts.accept()
        await acts.run(accepted, FAILED)
        return accepted.generation.id

    ran = terminal.run("generations", "show", does(stored))
    assert "error         model_error: it broke \\u001b[2Jhere\n" in ran.out


def test_a_queued_one_is_cancelled_at_once_and_again_is_harmless(
    terminal: Terminal, does: Does[Any]
) -> None:
    id = does(_one)
    first = terminal.run("generations", "cancel", id)
    assert (first.status, first.out) == (0, f"{id} is cancelled\n")
    assert "Redis is not reachable" in first.err
    second = terminal.run("generations", "cancel", id)
    assert (second.status, second.out) == (0, f"{id} had ended: cancelled\n")
    assert terminal.run("generations", "cancel", id, "--json").json["state"] == "cancelled"


def test_a_running_one_is_asked_to_stop(terminal: Terminal, does: Does[Any]) -> None:
    async def running(acts: Acts) -> str:
        id = await _one(acts)
        await acts.claimed(id)
        return id

    id = does(running)
    ran = terminal.run("generations", "cancel", id)
    assert (ran.status, ran.out) == (0, f"{id} is being cancelled\n")
    assert does(lambda acts: beat(acts.db, "wrk_1", 1)).cancel == {id}


def test_a_failed_chat_is_asked_for_again_in_its_conversation(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> dict[str, Any]:
        accepted = await acts.accept(text="why?", owner="bob")
        await acts.run(accepted, FAILED)
        return {"id": accepted.generation.id, "in": accepted.generation.conversation_id}

    old = does(stored)
    ran = terminal.run("generations", "retry", old["id"])
    assert ran.status == 0
    new = terminal.run("generations", "show", ran.out.strip(), "--json").json
    assert new["id"] != old["id"]
    assert (new["kind"], new["input"], new["model"]) == ("chat", "why?", "m")
    assert (new["owner"], new["state"], new["conversation_id"]) == ("bob", "queued", old["in"])
    assert terminal.run("generations", "show", old["id"], "--json").json["state"] == "failed"
    again = terminal.run("generations", "retry", old["id"])
    assert again.refused(new["id"], "is active in this conversation")
    queued = terminal.run("generations", "retry", old["id"], "--on-active", "queue", "--json").json
    assert queued["state"] == "queued"


def test_a_failed_generate_makes_a_persona_of_its_own_with_the_same_name(
    terminal: Terminal, does: Does[Any]
) -> None:
    async def stored(acts: Acts) -> Any:
        accepted = await acts.accept(Kind.GENERATE, "a brief", name="Ann")
        await acts.run(accepted, FAILED)
        return accepted.generation

    old = does(stored)
    new = terminal.run("generations", "retry", old.id, "--json").json
    assert new["persona_id"] != old.persona_id

    async def name(acts: Acts) -> str:
        from jobs.store.personas import read_persona

        return (await read_persona(acts.db, "ann", new["persona_id"])).name

    assert does(name) == "Ann"


def test_a_failed_refine_goes_on_with_its_persona(terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> Any:
        persona = await acts.persona(change({"soul.md": "kind"}))
        accepted = await acts.accept(Kind.REFINE, "be kinder", persona_id=persona)
        await acts.run(accepted, FAILED)
        return accepted.generation

    old = does(stored)
    new = terminal.run("generations", "retry", old.id, "--json").json
    assert (new["kind"], new["input"]) == ("refine", "be kinder")
    assert new["persona_id"] == old.persona_id
    assert new["conversation_id"] == old.conversation_id


@pytest.mark.parametrize("state", ["queued", "running", "completed"])
def test_what_did_not_fail_is_not_retried(state: str, terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> str:
        id = await _one(acts)
        if state != "queued":
            claimed = await acts.claimed(id)
            if state == "completed":
                await acts.commit(claimed)
        return id

    id = does(stored)
    assert terminal.run("generations", "retry", id).refused(id, state, "are retried")


def test_a_retry_passes_the_limits_like_any_other(terminal: Terminal, does: Does[Any]) -> None:
    async def stored(acts: Acts) -> str:
        accepted = await acts.accept()
        await acts.run(accepted, FAILED)
        return accepted.generation.id

    terminal.set(RELAY_OWNER_GENERATIONS_PER_MINUTE="1")
    ran = terminal.run("generations", "retry", does(stored))
    assert ran.refused("limit of 1 generations a minute")
