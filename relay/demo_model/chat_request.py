"""One chat-completions request as sent: checked as strictly as the real API checks it."""

import json
from typing import Literal

import msgspec


class BadRequest(ValueError):
    """A request that the real API would refuse; `param` names the field, where one is to blame."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class ContentPart(msgspec.Struct, frozen=True):
    """A piece of a message's content; only text is read."""

    type: str
    text: str = ""


class Function(msgspec.Struct, frozen=True):
    """The name and arguments of a call that the model made earlier."""

    name: str
    arguments: str


class PastCall(msgspec.Struct, frozen=True):
    """A tool call in an earlier assistant message."""

    id: str
    function: Function
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation so far."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[PastCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class ToolFunction(msgspec.Struct, frozen=True):
    """A tool's name; its schema is the caller's business."""

    name: str


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may call."""

    type: Literal["function"]
    function: ToolFunction


class StreamOptions(msgspec.Struct, frozen=True):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True):
    """The fields that the demo model reads; it ignores the others, as samplers' settings."""

    model: str
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def token_limit(self) -> int | None:
        """The longest answer in tokens, where the request sets one."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def tool_names(self) -> frozenset[str]:
        """The tools that may be called in this request."""
        if self.tool_choice == "none":
            return frozenset()
        return frozenset(tool.function.name for tool in self.tools or ())


def parse_chat_request(body: bytes) -> ChatRequest:
    """The request in a body; BadRequest says what is wrong with it."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest("The body of your request is not a JSON object.")
    for field in ("model", "messages"):
        if field not in document:
            raise BadRequest(f"Missing required parameter: '{field}'.", field)
    try:
        request = msgspec.convert(document, ChatRequest)
    except msgspec.ValidationError as error:
        where = str(error).partition("`$.")[2].partition("`")[0]
        raise BadRequest(f"Invalid value: {error}.", where or None) from error
    _check(request)
    return request


def _check(request: ChatRequest) -> None:
    if not request.messages:
        raise BadRequest("Invalid 'messages': empty array.", "messages")
    if request.n not in (None, 1):
        raise BadRequest("The demo model gives one choice only.", "n")
    if request.token_limit is not None and request.token_limit < 1:
        raise BadRequest("The token limit must be at least 1.", "max_completion_tokens")
    if request.stream_options is not None and not request.stream:
        raise BadRequest("'stream_options' is only allowed when 'stream' is on.", "stream_options")
    awaited: set[str] = set()
    for index, message in enumerate(request.messages):
        where = f"messages[{index}]"
        if message.role == "tool":
            if message.tool_call_id not in awaited:
                raise BadRequest(
                    "Messages with role 'tool' must answer a preceding message with 'tool_calls',"
                    f" once each: {message.tool_call_id!r} is not awaited.",
                    f"{where}.tool_call_id",
                )
            awaited.discard(message.tool_call_id)
            continue
        _check_all_answered(awaited)
        awaited = {call.id for call in message.tool_calls or ()}
        if message.tool_calls and message.role != "assistant":
            raise BadRequest("Only the assistant makes tool calls.", f"{where}.tool_calls")
        if message.content is None and not message.tool_calls:
            raise BadRequest(f"'{message.role}' messages need content.", f"{where}.content")
    _check_all_answered(awaited)


def _check_all_answered(awaited: set[str]) -> None:
    if awaited:
        raise BadRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding"
            f" to each 'tool_call_id'. Not answered: {', '.join(sorted(awaited))}",
            "messages",
        )
