"""Tokens from the command line: shown once, listed without secrets, refused once revoked."""

import string
from datetime import datetime
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from jobs.store.tokens import authenticate
from relay.commands.spans import LONGEST_SECONDS
from relay.commands.tokens import SCOPES, read_expiry, read_scopes
from tests.cli.conftest import Does, Terminal


def test_a_token_is_shown_once_and_lets_its_bearer_in(terminal: Terminal, does: Does[Any]) -> None:
    ran = terminal.run("tokens", "create", "laptop", "--json")
    made = ran.json
    assert ran.err == ""
    assert made["token"].startswith("prt_")
    assert made["prefix"] == made["token"][:12]
    assert (made["name"], made["owner"]) == ("laptop", "local")
    assert made["scopes"] == ["generate", "read"]
    row = does(lambda acts: authenticate(acts.db, made["token"]))
    assert row is not None
    assert row.owner == "local"
    listed = terminal.run("tokens", "list", "--json")
    assert made["token"] not in listed.out
    (one,) = listed.json["data"]
    assert one["prefix"] == made["prefix"]


def test_without_json_stdout_is_the_token_alone(terminal: Terminal, does: Does[Any]) -> None:
    ran = terminal.run("tokens", "create", "x", "--owner", "ann", "--scope", "read")
    row = does(lambda acts: authenticate(acts.db, ran.out.strip()))
    assert row is not None
    assert (row.owner, row.scopes) == ("ann", ("read",))
    assert "ann" in ran.err
    assert ran.out.strip() not in ran.err


def test_a_token_holds_90_days_unless_told_otherwise(terminal: Terminal) -> None:
    made = terminal.run("tokens", "create", "x", "--json").json
    assert _days(made) == pytest.approx(90, abs=0.01)
    assert _days(terminal.run("tokens", "create", "x", "--expires", "2w", "--json").json) == (
        pytest.approx(14, abs=0.01)
    )
    never = terminal.run("tokens", "create", "x", "--expires", "never", "--json").json
    assert never["expires_at"] is None


def _days(made: Any) -> float:
    span = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    return span.total_seconds() / 86_400


def test_a_revoked_token_lets_nobody_in(terminal: Terminal, does: Does[Any]) -> None:
    made = terminal.run("tokens", "create", "x", "--json").json
    ran = terminal.run("tokens", "revoke", made["prefix"])
    assert ran.status == 0
    assert made["prefix"] in ran.out
    assert does(lambda acts: authenticate(acts.db, made["token"])) is None
    assert terminal.run("tokens", "list", "--json").json["data"][0]["revoked_at"] is not None
    assert terminal.run("tokens", "revoke", made["prefix"]).refused("was not found")


def test_a_whole_token_is_revoked_too_and_never_shown_again(
    terminal: Terminal, does: Does[Any]
) -> None:
    made = terminal.run("tokens", "create", "x", "--json").json
    ran = terminal.run("tokens", "revoke", made["token"])
    assert (ran.status, ran.err) == (0, "")
    assert does(lambda acts: authenticate(acts.db, made["token"])) is None
    again = terminal.run("tokens", "revoke", made["token"])
    assert again.refused(made["prefix"], "was not found")
    assert made["token"] not in ran.out + again.err


def test_the_table_shows_each_token_in_a_line_that_nothing_can_break(terminal: Terminal) -> None:
    terminal.run("tokens", "create", "evil\x1b[2J\nname", "--owner", "[red]ann[/red]")
    ran = terminal.run("tokens", "list")
    header, row = ran.out.splitlines()
    assert header.split()[:3] == ["PREFIX", "NAME", "OWNER"]
    assert "evil\\u001b[2J name" in row
    assert "[red]ann[/red]" in row


@given(st.lists(st.sampled_from(SCOPES), min_size=1))
def test_scopes_are_read_in_any_order_and_each_once(scopes: list[str]) -> None:
    read = read_scopes(" , ".join(scopes))
    assert set(read) == set(scopes)
    assert len(read) == len(set(read))


@given(st.integers(1, 999_999), st.sampled_from("smhdw"))
def test_a_span_is_a_number_and_a_unit(number: int, unit: str) -> None:
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    if seconds <= LONGEST_SECONDS:
        assert read_expiry(f"{number}{unit}") == seconds
    else:
        with pytest.raises(typer.BadParameter):
            read_expiry(f"{number}{unit}")


@given(st.text(string.digits + "smhdw-+. ٣", max_size=8))
def test_anything_else_is_no_span(text: str) -> None:
    if text[-1:] in tuple("smhdw") and text[:-1].isascii() and text[:-1].isdigit():
        return
    with pytest.raises(typer.BadParameter):
        read_expiry(text)
