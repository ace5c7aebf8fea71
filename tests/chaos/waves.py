"""Some generations at work together, and what every test asks of them at their end."""

import asyncio

from relay.demo_model.tokens import WORDS
from tests.chaos.reader import Reader
from tests.chaos.system import System


def words(count: int) -> str:
    """The whole answer of `demo-words-N`."""
    return " ".join(WORDS[at % len(WORDS)] for at in range(count))


async def wave(system: System, count: int, model: str) -> list[Reader]:
    """So many generations of this script, each with a reader that has seen some of its text."""
    readers = await asyncio.gather(*(system.asked(model, said=f"{n}") for n in range(count)))
    await asyncio.gather(*(reader.wrote() for reader in readers))
    return list(readers)


async def assert_whole(
    system: System, reader: Reader, text: str, *, within: float = 15.0, attempt: int = 1
) -> None:
    """It completed in this attempt with this text and one turn, and its reader saw just that.

    A reader of a first attempt was never told to forget anything, and saw every event once.
    """
    await reader.finished(within)
    ended = await system.resource(reader.generation_id)
    assert (ended["state"], ended["attempt"]) == ("completed", attempt), reader.tale()
    assert reader.text == ended["output"]["text"] == text
    turns = await system.turns(reader.generation_id)
    assert [role for role, _, _ in turns] == ["user", "assistant"]
    assert len(reader.resets) == attempt - 1, reader.tale()
    offset = 0
    for one in reader.numbered:
        offset = 0 if one.event == "reset" else offset + len(one.text)
        assert one.cursor.offset == offset, reader.tale()
