"""What a model name asks the demo model to do: the grammar of names, parsed into a frozen Script.

    name   = "demo" *( sep part )            every part at most once, in any order
    sep    = "-" / "+"
    part   = word *( sep number )            e.g. pace-200, silent-after-5, tokens-100-0

`SCRIPTS` lists every part with an example; the server's page shows it and the tests play it.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HUMAN_PACE = 35
"""Tokens a second when the name asks for no other pace."""

SLOW_PACE = 2
MAX_PACE = 100_000
MAX_TOKENS = 200_000
MAX_DELAY_MS = 600_000
MID_ANSWER = 5
"""Tokens before a fault that needs some, when the name does not say `after-N`."""


class UnknownScript(ValueError):
    """The name is no script of the demo model; `name` is what was asked for."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} is no script of the demo model: {reason}")
        self.name = name
        self.reason = reason


class Play(enum.Enum):
    """What is said, before any fault."""

    STORY = "story"
    WORDS = "words"
    TOKENS = "tokens"
    ECHO = "echo"
    UNICODE = "unicode"
    EMPTY = "empty"
    TEXT = "text"
    TOOLS_ONLY = "toolsonly"
    INVALID_FILES = "invalidfiles"
    NEVER_ENDS = "neverends"
    DICTATED = "dictated"


class Fault(enum.Enum):
    """What goes wrong, and in place of which part of the answer."""

    SILENT = "silent"
    COMMENTS = "comments"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    BAD_JSON = "badjson"
    ERROR_EVENT = "errorevent"
    NO_DONE = "nodone"
    HTML = "html"
    STATUS = "status"


AFTER_TOKENS = frozenset(Fault) - {Fault.NO_DONE, Fault.HTML, Fault.STATUS}
"""The faults that happen after a number of tokens."""

_AT_ONCE = frozenset({Fault.SILENT, Fault.COMMENTS})


@dataclass(frozen=True, slots=True)
class Script:
    """One parsed name: content, pace and fault of an answer."""

    pace: int = HUMAN_PACE
    """Tokens a second; 0 = as fast as the reader reads."""
    delay_ms: int = 0
    """Silence before the first token, the headers being sent."""
    play: Play = Play.STORY
    count: int = 0
    """Tokens of WORDS and TOKENS."""
    finish: str | None = None
    """The finish reason, where it is not the answer's own."""
    fault: Fault | None = None
    after: int = 0
    """Tokens sent before the fault."""
    round: int = 0
    """The only round in which the fault happens; 0 = in all."""
    status: int = 0
    flaky: int = 0
    """Requests with the same body that meet the fault before it is over; 0 = all of them."""
    chunk_bytes: int = 0
    """Bytes of each write; 0 = one frame a write."""
    crlf: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the grammar, for people: its form, a whole name that uses it, what it does."""

    form: str
    example: str
    does: str


SCRIPTS: tuple[Part, ...] = (
    Part("scripted", "demo-scripted", f"nothing more than demo: {HUMAN_PACE} tokens a second"),
    Part("fast", "demo-fast", "no pause between tokens"),
    Part("slow", "demo-slow", f"{SLOW_PACE} tokens a second"),
    Part("pace-R", "demo-pace-200", "R tokens a second, 0 = no pause"),
    Part("delay-MS", "demo-delay-500", "the headers, MS milliseconds of silence, then the answer"),
    Part("words-N", "demo-words-20", "exactly N tokens, each a word; no tool calls"),
    Part("tokens-N[-R]", "demo-tokens-100-0", "the tokens t1 t2 … tN, R a second; no tool calls"),
    Part("echo", "demo-echo", "the last user message, one code point a token; no tool calls"),
    Part(
        "unicode",
        "demo-unicode",
        "é, an emoji, a surrogate pair split across chunks, a lone surrogate, U+0000; with tools in"
        " a file too",
    ),
    Part("empty", "demo-empty", "neither text nor tool call, finish reason stop"),
    Part("text", "demo-text", "with tools: an answer in text only"),
    Part("toolsonly", "demo-toolsonly", "with tools: tool calls without any text"),
    Part(
        "invalidfiles",
        "demo-invalidfiles",
        "with tools: one valid file among seven invalid calls; the next round mends one of them",
    ),
    Part("neverends", "demo-neverends", "with tools: a tool call in every round, for ever"),
    Part(
        "dictated",
        "demo-dictated",
        'plays the JSON of the last user message: {"rounds":[{"text":…,"calls":[{"name":…,'
        '"arguments":object or text}],"finish":…}]}',
    ),
    Part("length", "demo-length", "finish reason length; a story stops at its half"),
    Part("filter", "demo-filter", "finish reason content_filter; a story stops at its half"),
    Part("silent[-after-N]", "demo-silent-after-5", "the headers, N tokens (0), then nothing"),
    Part(
        "comments[-after-N]",
        "demo-comments-after-5",
        "the headers, N tokens (0), then only `: keep-alive` comments",
    ),
    Part(
        "truncated[-after-N]",
        "demo-truncated-after-5",
        f"a clean end after N tokens ({MID_ANSWER}): no finish reason, no [DONE]",
    ),
    Part(
        "broken[-after-N]",
        "demo-broken-after-5",
        f"N tokens ({MID_ANSWER}), half a frame, then the connection drops",
    ),
    Part(
        "badjson[-after-N]",
        "demo-badjson-after-5",
        f"malformed JSON in place of the token after N tokens ({MID_ANSWER}); the rest follows",
    ),
    Part(
        "errorevent[-after-N]",
        "demo-errorevent-after-5",
        f'N tokens ({MID_ANSWER}), then data: {{"error":…}} and a clean end',
    ),
    Part("nodone", "demo-nodone", "the finish reason, then a clean end without usage and [DONE]"),
    Part("html", "demo-html", "200 with a page of HTML, as from a captive portal"),
    Part(
        "status-S", "demo-status-429", "refused with status S (400 to 599); 429 has Retry-After: 1"
    ),
    Part(
        "flaky-N[-S]",
        "demo-flaky-2-500",
        "the first N requests with the same body fail, with status S or the name's fault",
    ),
    Part("round-K", "demo-fast-truncated-round-2", "the name's fault happens in round K only"),
    Part("bytes-B", "demo-fast-bytes-7", "written B bytes at a time, wherever that cuts"),
    Part("crlf", "demo-fast-crlf", "CRLF line ends"),
)


def parse_script(name: str) -> Script:
    """The script that a model name asks for; UnknownScript when it asks for none."""
    head, *parts = re.split(r"[-+]", name)
    if head != "demo":
        raise UnknownScript(name, "names begin with demo")
    fields: dict[str, Any] = {}

    def claim(**values: Any) -> None:
        for field, value in values.items():
            if field in fields:
                raise UnknownScript(name, f"two parts settle its {field}")
            fields[field] = value

    for word, numbers in _phrases(name, parts):
        match word, numbers:
            case "scripted", []:
                claim(scripted=True)
            case "fast", []:
                claim(pace=0)
            case "slow", []:
                claim(pace=SLOW_PACE)
            case "pace", [rate] if rate <= MAX_PACE:
                claim(pace=rate)
            case "delay", [delay] if delay <= MAX_DELAY_MS:
                claim(delay_ms=delay)
            case (("words" | "tokens"), [count]) if 0 < count <= MAX_TOKENS:
                claim(play=Play(word), count=count)
            case "tokens", [count, rate] if 0 < count <= MAX_TOKENS and rate <= MAX_PACE:
                claim(play=Play.TOKENS, count=count, pace=rate)
            case "length", []:
                claim(finish="length")
            case "filter", []:
                claim(finish="content_filter")
            case "status", [status] if 400 <= status <= 599:
                claim(fault=Fault.STATUS, status=status)
            case "flaky", [times] if 0 < times <= MAX_TOKENS:
                claim(flaky=times)
            case "flaky", [times, status] if 0 < times <= MAX_TOKENS and 400 <= status <= 599:
                claim(flaky=times, fault=Fault.STATUS, status=status)
            case "after", [after]:
                claim(after=after)
            case "round", [number] if number > 0:
                claim(round=number)
            case "bytes", [size] if size > 0:
                claim(chunk_bytes=size)
            case "crlf", []:
                claim(crlf=True)
            case _, [] if word in _PLAYS:
                claim(play=Play(word))
            case _, [] if word in _FAULTS:
                claim(fault=Fault(word))
            case _:
                raise UnknownScript(name, f"{'-'.join([word, *map(str, numbers)])!r} is unknown")

    fault = fields.get("fault")
    if fault is None and fields.keys() & {"after", "flaky", "round"}:
        raise UnknownScript(name, "after, flaky and round belong to a fault")
    if fault not in AFTER_TOKENS and "after" in fields:
        raise UnknownScript(name, "this fault happens after no tokens")
    if fault in AFTER_TOKENS and fault not in _AT_ONCE:
        fields.setdefault("after", MID_ANSWER)
    fields.pop("scripted", None)
    return Script(**fields)


_PLAYS = frozenset(play.value for play in Play) - {"story", "words", "tokens"}
_FAULTS = frozenset(fault.value for fault in Fault) - {"status"}


def _phrases(name: str, parts: list[str]) -> Iterator[tuple[str, list[int]]]:
    """Each word with the numbers that follow it."""
    phrase: tuple[str, list[int]] | None = None
    for part in parts:
        if re.fullmatch(r"[0-9]{1,7}", part) and phrase is not None:
            phrase[1].append(int(part))
        elif re.fullmatch(r"[a-z]+", part):
            if phrase is not None:
                yield phrase
            phrase = (part, [])
        else:
            raise UnknownScript(name, f"{part!r} is neither a word nor a number in its place")
    if phrase is not None:
        yield phrase
