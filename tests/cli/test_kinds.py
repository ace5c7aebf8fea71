"""Commands know the kinds of RELAY_KINDS, and say in one line when they can't be loaded."""

from typing import Any

import pytest

from jobs.finish import journal_record
from jobs.generation import Kind, State
from jobs.journal import Journal
from tests.cli.conftest import Does, Terminal
from tests.conformance.acts import Acts, outcome
from tests.jobs.sample_kinds import SETTING, kept_rows, make_table


@pytest.fixture
def knowing(terminal: Terminal) -> Terminal:
    """A terminal where the application's kinds are known."""
    terminal.set(RELAY_KINDS=SETTING, RELAY_MODEL="m")
    return terminal


def test_a_replay_from_the_terminal_keeps_what_belongs_to_the_answer(
    knowing: Terminal, does: Does[Any]
) -> None:
    async def left(acts: Acts) -> str:
        await make_table(acts.db)
        accepted = await acts.accept(Kind("keeping"))
        return (await acts.claimed(accepted.generation.id)).id

    name = does(left)
    with Journal.open(knowing.folder / "journal") as journal:
        journal.append(journal_record(name, 1, outcome("kept")))
    knowing.set(RELAY_KINDS="")
    ran = knowing.run("journal", "replay")
    assert (ran.status, ran.out) == (1, "0 replayed, 0 refused, 1 left\n")
    assert f"{name}:1 stays pending: the kind 'keeping' is not known here" in ran.err
    knowing.set(RELAY_KINDS=SETTING)
    assert knowing.run("journal", "replay").out == "1 replayed, 0 refused, 0 left\n"
    assert does(lambda acts: kept_rows(acts.db)) == [(name, "ann", "kept")]


def test_generations_are_listed_and_retried_by_their_kind(
    knowing: Terminal, does: Does[Any]
) -> None:
    async def failed(acts: Acts) -> tuple[str, str]:
        await acts.accept()
        accepted = await acts.accept(Kind("keeping"))
        await acts.run(accepted, outcome("", State.FAILED))
        return accepted.generation.id, accepted.generation.conversation_id

    name, conversation = does(failed)
    [listed] = knowing.run("generations", "list", "--kind", "keeping", "--json").json["data"]
    assert listed["id"] == name
    again = knowing.run("generations", "retry", name, "--json").json
    assert (again["kind"], again["conversation_id"]) == ("keeping", conversation)
    knowing.set(RELAY_KINDS="")
    refused = knowing.run("generations", "list", "--kind", "keeping")
    assert refused.refused("--kind", "'keeping' is not one of chat, generate, refine", status=2)
    assert knowing.run("generations", "retry", name).refused(
        "kind: the kind 'keeping' is not known here"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("generations", "list"),
        ("generations", "tail", "gen_x"),
        ("generations", "retry", "gen_x"),
    ],
)
def test_a_wrong_setting_ends_a_command_in_one_line(terminal: Terminal, words: tuple[str]) -> None:
    terminal.set(RELAY_KINDS="no_such_app:KINDS", RELAY_AUTH="off")
    assert terminal.run(*words).refused("RELAY_KINDS: 'no_such_app:KINDS' can't be imported")
