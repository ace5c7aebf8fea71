"""API tokens are good until they expire or are revoked, and never shown again."""

import time

import pytest
from sqlalchemy import text

from jobs.errors import NotFound
from jobs.store.tokens import authenticate, create_token, list_tokens, revoke_token, still_valid
from tests.conformance.acts import Acts


async def test_a_token_is_known_by_its_hash_alone(acts: Acts) -> None:
    token, row = await create_token(acts.db, "laptop", "ann", ("read", "generate"), None)
    assert token.startswith("prt_")
    assert len(token) >= 4 + 43
    assert row.prefix == token[:12]
    assert (row.name, row.owner, row.scopes) == ("laptop", "ann", ("generate", "read"))
    stored = await acts.db.fetch(text("SELECT * FROM api_tokens"))
    assert token not in repr(stored)
    assert await list_tokens(acts.db) == (row,)
    known = await authenticate(acts.db, token)
    assert known is not None
    assert known.prefix == row.prefix


async def test_only_the_whole_token_is_good(acts: Acts) -> None:
    token, row = await create_token(acts.db, "laptop", "ann", ("read",), None)
    wrong = ("", row.prefix, token[:-1], token + "x", token.upper(), "prt_", "é" * 20, "x" * 9999)
    for one in wrong:
        assert await authenticate(acts.db, one) is None


async def test_a_revoked_token_is_refused_from_the_next_request_on(acts: Acts) -> None:
    token, row = await create_token(acts.db, "laptop", "ann", ("read",), None)
    other, kept = await create_token(acts.db, "phone", "ann", ("read",), None)
    assert await still_valid(acts.db, [row.prefix, kept.prefix, "prt_unknown"]) == {
        row.prefix, kept.prefix,
    }  # fmt: skip
    revoked = await revoke_token(acts.db, row.prefix)
    assert revoked.revoked_at is not None
    assert await authenticate(acts.db, token) is None
    assert await authenticate(acts.db, other) is not None
    assert await still_valid(acts.db, [row.prefix, kept.prefix]) == {kept.prefix}
    for prefix in (row.prefix, "prt_unknown"):
        with pytest.raises(NotFound):
            await revoke_token(acts.db, prefix)


async def test_a_token_expires_by_the_databases_clock(acts: Acts) -> None:
    expires = round((time.time() + 60) * 1000)
    token, row = await create_token(acts.db, "laptop", "ann", ("read",), expires)
    assert await authenticate(acts.db, token) is not None
    await acts.elapse(61)
    assert await authenticate(acts.db, token) is None
    assert await still_valid(acts.db, [row.prefix]) == set()


async def test_its_use_is_noted_at_most_once_a_minute(acts: Acts) -> None:
    token, row = await create_token(acts.db, "laptop", "ann", ("read",), None)
    assert row.last_used_at is None

    async def used() -> str | None:
        assert await authenticate(acts.db, token) is not None
        return (await list_tokens(acts.db))[0].last_used_at

    first = await used()
    assert first is not None
    assert await used() == first
    await acts.elapse(30)
    shifted = await used()
    await acts.elapse(31)
    later = await used()
    assert later is not None
    assert shifted is not None
    assert shifted < first <= later


async def test_a_prefix_that_is_taken_is_drawn_again(
    acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["same-prefix-1", "same-prefix-2", "other-prefix"])
    monkeypatch.setattr("jobs.store.tokens.secrets.token_urlsafe", lambda _: next(drawn))
    await create_token(acts.db, "one", "ann", (), None)
    token, _ = await create_token(acts.db, "two", "ann", (), None)
    assert token == "prt_other-prefix"
