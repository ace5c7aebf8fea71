"""The messages before a run's answer, so that a client that lists them ends with the right ones.

A client keeps the messages whose ids it knows where they stand, and appends the others. So it is
given its own ids as far as its history is the server's, and none that it knows after that.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, count

from jobs.generation import Generation
from jobs.store.conversations import ConversationResource
from relay.protocols.ag_ui.request import AgentMessage


def messages_before(
    conversation: ConversationResource, generation: Generation, given: Sequence[AgentMessage]
) -> list[dict[str, str]]:
    """Everything said up to this generation's input, that included, as AG-UI messages."""
    known = {one.id for one in given}
    shown: list[dict[str, str]] = []
    agrees = True
    for number, (ids, role, text) in enumerate(_said_before(conversation, generation)):
        mine = given[number] if number < len(given) else AgentMessage("")
        agrees = agrees and (mine.role, mine.text) == (role, text) and mine.id != ""
        more = (f"{ids[0]}:{again}" for again in count(1))
        fresh = (one for one in chain(ids, more) if one not in known)
        shown.append({"id": mine.id if agrees else next(fresh), "role": role, "content": text})
    return shown


def _said_before(
    conversation: ConversationResource, generation: Generation
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """The ids by which it may go, the role and the text of each."""
    for turn in conversation.turns:
        mine = turn.generation_id == generation.id
        ids = (turn.id,) if turn.role == "user" else (turn.generation_id, turn.id)
        yield ids, turn.role, turn.text
        if mine:
            return
    # It waits in line: its own words are no turn yet.
    yield (f"{generation.id}:input",), "user", generation.input
