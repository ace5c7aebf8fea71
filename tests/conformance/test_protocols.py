"""What another protocol asked for is kept with its generation, and hidden when it is told to."""

import pytest

from jobs.errors import NotFound
from jobs.store.protocols import hide, read_begun
from jobs.store.reads import read_generation
from tests.conformance.acts import Acts, outcome

ASKED = {"protocol": "one", "É": ["🎉", None, 1.5]}


async def test_what_was_asked_comes_back_as_it_was(acts: Acts) -> None:
    accepted = await acts.accept(asked=ASKED)
    begun = await read_begun(acts.db, "ann", accepted.generation.id, "one")
    assert (begun.generation, begun.asked) == (accepted.generation, ASKED)
    await acts.run(accepted, outcome("answer"))
    ended = (await read_begun(acts.db, "ann", accepted.generation.id, "one")).generation
    assert ended.output is not None
    assert ended.output.text == "answer"


async def test_it_is_found_by_its_owner_in_its_protocol_alone(acts: Acts) -> None:
    one = (await acts.accept(asked=ASKED)).generation.id
    native = (await acts.accept()).generation.id
    for owner, generation, protocol in (
        ("bob", one, "one"), ("ann", one, "two"), ("ann", native, "one"), ("ann", "gen_x", "one"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await read_begun(acts.db, owner, generation, protocol)


async def test_what_is_hidden_is_gone_for_its_protocol_and_nobody_else(acts: Acts) -> None:
    one = (await acts.accept(asked=ASKED)).generation.id
    with pytest.raises(NotFound):
        await hide(acts.db, "bob", one)
    await hide(acts.db, "ann", one)
    with pytest.raises(NotFound):
        await read_begun(acts.db, "ann", one, "one")
    with pytest.raises(NotFound):
        await hide(acts.db, "ann", one)
    assert (await read_generation(acts.db, "ann", one)).id == one
