"""What `useChat` sends, and the few things of it that are taken (protocol §10).

Its messages are not believed: the input is the last user message's text, all else is in the row.
"""

from typing import Literal

import msgspec

from jobs.clean import unacceptable
from jobs.generation import Kind
from jobs.store.requests import Replaces
from relay.errors import InvalidField
from relay.protocols.threads import Wish, checked_input


class Part(msgspec.Struct, frozen=True):
    """A part of a message: only text is taken."""

    type: str
    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message of the page's history."""

    role: str
    id: str = ""
    parts: tuple[Part, ...] = ()


class SendMessages(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /ai/chat`: the whole history, or with `message` only the newest one of it.

    `message_id` is that of a message that is edited, or answered once more. `kind`, `persona_id`,
    `name` and `model` are the relay's own, from the transport's `body`.
    """

    id: str
    messages: tuple[Message, ...] = ()
    message: Message | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = msgspec.field(name="messageId", default=None)
    kind: Kind | None = None
    persona_id: str | None = None
    name: str | None = None
    model: str | None = None

    @property
    def wish(self) -> Wish:
        """What it asks for beside its messages."""
        return Wish(kind=self.kind, persona_id=self.persona_id, name=self.name, model=self.model)

    def newest(self) -> Message:
        """The last message of the user; InvalidField without one."""
        given = self.messages if self.message is None else (self.message,)
        newest = next((one for one in reversed(given) if one.role == "user"), None)
        if newest is None:
            raise InvalidField("messages", "has no message of the user")
        return newest

    def replaces(self) -> Replaces | None:
        """What the page no longer has, None for a message that it only adds.

        It has dropped all that came after the answer before its last message: so that one stays.
        Where it sends that message alone, only the newest answer can be meant.
        """
        regenerates = self.trigger == "regenerate-message"
        if not regenerates and self.message_id != self.newest().id:
            return None
        if self.message is not None:
            return Replaces(None, newest=regenerates)
        answers = [one.id for one in self.messages if one.role == "assistant"]
        if not answers:
            return Replaces("", newest=regenerates)
        # An id that no database takes is none of the chat's answers.
        named = bool(answers[-1]) and not unacceptable(answers[-1])
        return Replaces(answers[-1] if named else None, newest=regenerates)


def said_in(message: Message) -> str:
    """The message's words; InvalidField for what is not text, since it would go unseen."""
    for part in message.parts:
        if part.type != "text":
            raise InvalidField("messages", f"has a part of type {part.type!r}: only text is taken")
    return checked_input("messages", "\n\n".join(part.text for part in message.parts))
