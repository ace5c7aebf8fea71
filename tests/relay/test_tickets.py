"""A ticket opens the one stream that it was signed for, until its time is over."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tickets import Ticket, read_ticket, sign_ticket

SECRET = "a secret"
GENERATION = "gen_01j00000000000000000000000"
OTHER = "gen_01j00000000000000000000001"
TICKET = Ticket("alice", "prt_abcdefgh", 1_000_000)

texts = st.text(st.characters(codec="utf-8"), max_size=60)


def test_a_ticket_is_read_as_it_was_signed() -> None:
    text = sign_ticket(SECRET, GENERATION, TICKET)
    assert read_ticket(SECRET, GENERATION, text, 999_999) == TICKET


def test_a_ticket_is_refused_from_its_last_millisecond_on() -> None:
    text = sign_ticket(SECRET, GENERATION, TICKET)
    assert read_ticket(SECRET, GENERATION, text, 1_000_000) is None


def test_a_ticket_opens_no_other_generation() -> None:
    text = sign_ticket(SECRET, GENERATION, TICKET)
    assert read_ticket(SECRET, OTHER, text, 0) is None


def test_a_ticket_of_another_secret_is_refused() -> None:
    text = sign_ticket("another secret", GENERATION, TICKET)
    assert read_ticket(SECRET, GENERATION, text, 0) is None


@given(owner=texts, prefix=st.none() | texts, data=st.data())
def test_a_ticket_with_any_flipped_bit_is_refused(
    owner: str, prefix: str | None, data: st.DataObject
) -> None:
    text = sign_ticket(SECRET, GENERATION, Ticket(owner, prefix, 10**15))
    assert read_ticket(SECRET, GENERATION, text, 0) == Ticket(owner, prefix, 10**15)
    place = data.draw(st.integers(0, len(text) - 1))
    bit = data.draw(st.integers(0, 7))
    forged = text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]
    assert read_ticket(SECRET, GENERATION, forged, 0) is None


@given(st.text(max_size=200))
def test_any_other_text_is_refused_without_an_error(text: str) -> None:
    assert read_ticket(SECRET, GENERATION, text, 0) is None


@given(st.integers(1, 20))
def test_a_ticket_that_was_cut_or_lengthened_is_refused(count: int) -> None:
    text = sign_ticket(SECRET, GENERATION, TICKET)
    assert read_ticket(SECRET, GENERATION, text[:-count], 0) is None
    assert read_ticket(SECRET, GENERATION, text + "A" * count, 0) is None
    assert read_ticket(SECRET, GENERATION, text + "=" * count, 0) is None


def test_a_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    in_constant_time = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return in_constant_time(one, other)

    monkeypatch.setattr("relay.tickets.hmac.compare_digest", compare)
    text = sign_ticket(SECRET, GENERATION, TICKET)
    signature = text.partition(".")[2]
    assert read_ticket(SECRET, GENERATION, text, 0) == TICKET
    assert read_ticket(SECRET, GENERATION, "forged." + signature, 0) is None
    assert [one for one, _ in compared] == [signature, signature]
    # Nothing else decides: what the comparison lets through is read.
    monkeypatch.setattr("relay.tickets.hmac.compare_digest", lambda one, other: True)
    assert read_ticket(SECRET, GENERATION, text[:-1] + "!", 0) == TICKET
