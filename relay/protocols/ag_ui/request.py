"""What `HttpAgent` sends, and the few things of it that are taken (protocol §10).

Its messages are not believed: the input is the last user message's text, all else is in the row.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jobs.clean import unacceptable
from jobs.kinds import Kinds
from relay.errors import InvalidField
from relay.protocols.threads import Wish, checked_input


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content: only text is taken."""

    type: str
    text: str = ""


class AgentMessage(msgspec.Struct, frozen=True):
    """A message of the agent's history; some kinds of them have no text."""

    role: str
    id: str = ""
    content: Any = None

    @property
    def text(self) -> str | None:
        """Its words, None where it holds anything else."""
        if isinstance(self.content, str):
            return self.content
        try:
            parts = msgspec.convert(self.content, tuple[Part, ...])
        except msgspec.ValidationError:
            return None
        if any(part.type != "text" for part in parts):
            return None
        return "\n\n".join(part.text for part in parts)


class RunInput(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`POST /ag-ui`: a RunAgentInput."""

    thread_id: str
    run_id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: tuple[AgentMessage, ...]
    forwarded_props: Any = None

    def wish(self, kinds: Kinds) -> Wish:
        """What it asks for in its `forwardedProps`.

        Raises InvalidField where that doesn't fit, InvalidRequest for a kind that is not known.
        """
        if self.forwarded_props is None:
            return Wish()
        try:
            wish = msgspec.convert(self.forwarded_props, Wish)
        except msgspec.ValidationError as error:
            raise InvalidField("forwardedProps", str(error)) from None
        if wish.kind is not None:
            kinds.refuse_unknown(wish.kind, "forwardedProps")
        return wish

    def said(self) -> str:
        """The last user message's words; InvalidField for none, or for what is not text."""
        newest = next((one for one in reversed(self.messages) if one.role == "user"), None)
        if newest is None:
            raise InvalidField("messages", "has no message of the user")
        text = newest.text
        if text is None:
            raise InvalidField("messages", "has content that is not text: only text is taken")
        return checked_input("messages", text)

    def checked_run_id(self) -> str:
        """The run's id, which its events are to repeat."""
        if reason := unacceptable(self.run_id):
            raise InvalidField("runId", reason)
        return self.run_id
