"""A client that counts its tries and names none gets one generation a request, never two."""

import asyncio
import time

from jobs.generation import Kind
from jobs.store.intake import Accepted
from jobs.store.protocols import hide
from jobs.store.reads import list_generations
from jobs.store.requests import NewGeneration, Tries
from jobs.store.tries import next_would_find
from tests.conformance.acts import Acts

WITHIN = 700.0
WORDS, OTHER_WORDS = "a" * 64, "b" * 64


def nth(before: int, *, since: float | None = None) -> Tries:
    """A try after this many others, which came just now."""
    return Tries(before, WITHIN, time.monotonic() if since is None else since)


async def ask(acts: Acts, tries: Tries, words: str = WORDS, owner: str = "ann") -> Accepted:
    return await acts.accept(owner=owner, tries=tries, idempotency_hash=words)


async def stored(acts: Acts) -> int:
    return len((await list_generations(acts.db, None)).data)


async def test_a_second_try_finds_what_the_first_one_stored(acts: Acts) -> None:
    first = await ask(acts, nth(0))
    assert (first.replayed, first.starts) == (False, True)
    for before in (1, 2):
        again = await ask(acts, nth(before))
        assert again.generation.id == first.generation.id
        assert (again.replayed, again.starts) == (True, False)
    assert await stored(acts) == 1


async def test_a_second_try_is_stored_where_the_first_was_not(acts: Acts) -> None:
    assert not (await ask(acts, nth(1))).replayed
    assert not (await ask(acts, nth(1), OTHER_WORDS)).replayed
    assert not (await ask(acts, nth(1), owner="bob")).replayed
    assert await stored(acts) == 3


async def test_the_same_words_again_are_another_request(acts: Acts) -> None:
    first, second = await ask(acts, nth(0)), await ask(acts, nth(0))
    assert first.generation.id != second.generation.id
    # Each finds one of its own again, even though nothing tells the two apart.
    again = {(await ask(acts, nth(1))).generation.id for _ in range(2)}
    assert again == {first.generation.id, second.generation.id}
    assert not (await ask(acts, nth(1))).replayed


async def test_what_is_longer_ago_than_a_client_waits_is_another_request(acts: Acts) -> None:
    first = await ask(acts, nth(0))
    await acts.elapse(WITHIN - 5)
    assert (await ask(acts, nth(1))).generation.id == first.generation.id
    await acts.elapse(WITHIN - 5)
    assert (await ask(acts, nth(2))).generation.id == first.generation.id
    await acts.elapse(WITHIN + 5)
    assert not (await ask(acts, nth(1))).replayed


async def test_a_try_that_was_overtaken_by_the_next_stores_nothing(acts: Acts) -> None:
    came = time.monotonic() - 5
    overtaker = await ask(acts, nth(1))
    late = await ask(acts, nth(0, since=came))
    assert late.generation.id == overtaker.generation.id
    assert not (await ask(acts, nth(0))).replayed


async def test_tries_at_the_same_instant_store_one(acts: Acts) -> None:
    for number in range(5):
        words = f"{number}" * 64
        since = time.monotonic()
        got = await asyncio.gather(
            *(ask(acts, nth(before, since=since), words) for before in (0, 1, 2))
        )
        assert len({one.generation.id for one in got}) == 1
        assert [one.replayed for one in got].count(False) == 1
    assert await stored(acts) == 5


async def test_a_try_is_known_though_the_first_has_taken_its_place(acts: Acts) -> None:
    made = await acts.accept(Kind.GENERATE, "a brief", name="Ann")
    await acts.run(made)
    for kind, persona in ((Kind.REFINE, made.generation.persona_id), (Kind.CHAT, None)):
        before = made if persona else await acts.accept()
        if persona is None:
            await acts.run(before)
        first, again = [
            await acts.accept(
                kind, "more", persona_id=persona, follows=before.generation.id,
                tries=nth(number), idempotency_hash=kind.value * 8,
            )
            for number in (0, 1)
        ]  # fmt: skip
        assert again.generation.id == first.generation.id


async def test_a_refused_request_is_told_where_its_next_try_would_be_mistaken(acts: Acts) -> None:
    def refused(tries: Tries, words: str = WORDS) -> NewGeneration:
        return NewGeneration(
            owner="ann", kind=Kind.CHAT, input="hi", model="m", tries=tries, idempotency_hash=words
        )

    assert not await next_would_find(acts.db, refused(nth(0)))
    await ask(acts, nth(1))
    # Stored by a second try, it is nobody's first.
    assert not await next_would_find(acts.db, refused(nth(0)))
    await ask(acts, nth(0))
    assert await next_would_find(acts.db, refused(nth(0)))
    assert not await next_would_find(acts.db, refused(nth(0), OTHER_WORDS))


async def test_what_its_client_has_deleted_is_not_found_again(acts: Acts) -> None:
    first = await ask(acts, nth(0))
    await hide(acts.db, "ann", first.generation.id)
    assert not (await ask(acts, nth(1))).replayed
