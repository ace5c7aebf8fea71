"""What the demo model says: an Answer, a function of script and conversation alone."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import tokens
from .conversation import Conversation, Kind
from .dictation import Round, dictated_round
from .personas import persona_files, quoted
from .refinements import asks_for_a_change, edit
from .script import Play, Script
from .themes import GENERAL, skills_for, theme_of

OVERSIZED_BYTES = 200_001
"""One more than a persona's files may have together (protocol §6)."""


@dataclass(frozen=True, slots=True)
class Text:
    """One token of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins: its place, id and name; no token of its own."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """One token of a call's arguments, a piece of JSON text."""

    index: int
    text: str


Delta = Text | CallStart | Arguments


@dataclass(frozen=True, slots=True)
class Answer:
    """Deltas, made as they are asked for, and the finish reason after the last one."""

    deltas: Iterable[Delta]
    finish: str


Call = tuple[str, str]
"""A tool's name and the JSON text of its arguments."""


def answer(script: Script, conversation: Conversation) -> Answer:
    """The answer of this script to this conversation."""
    given = _answer(script, conversation)
    if script.finish is None:
        return given
    if script.play in (Play.STORY, Play.TEXT, Play.TOOLS_ONLY):
        deltas = list(given.deltas)
        return Answer(deltas[: len(deltas) // 2], script.finish)
    return Answer(given.deltas, script.finish)


def _answer(script: Script, conversation: Conversation) -> Answer:
    with_tools = conversation.kind is not Kind.CHAT
    match script.play:
        case Play.WORDS:
            return Answer(_words(script.count), "stop")
        case Play.TOKENS:
            return Answer(_numbered(script.count), "stop")
        case Play.ECHO:
            return Answer(map(Text, conversation.request), "stop")
        case Play.EMPTY:
            return Answer((), "stop")
        case Play.DICTATED:
            return _dictated(conversation)
        case Play.UNICODE:
            return _unicode(conversation, with_tools)
        case Play.TEXT if with_tools:
            return _told(_opinion(conversation), ())
        case Play.NEVER_ENDS if with_tools:
            return _one_more_note(conversation)
        case Play.INVALID_FILES if with_tools:
            return _invalid_files(conversation)
        case Play.TOOLS_ONLY if with_tools:
            return _silently(_story(conversation, always_change=True))
    return _story(conversation)


def _story(conversation: Conversation, *, always_change: bool = False) -> Answer:
    if conversation.kind is Kind.CHAT:
        return _told(_chat(conversation), ())
    if conversation.round > 1:
        return _told(_closing(conversation), ())
    if conversation.kind is Kind.GENERATE:
        return _generate(conversation)
    if always_change or asks_for_a_change(conversation.request):
        return _refine(conversation)
    return _told(_opinion(conversation), ())


def _told(text: str, calls: Sequence[Call], *, call_round: str = "") -> Answer:
    """The text, word by word, then the calls, and the finish reason that fits."""
    deltas = itertools.chain(map(Text, tokens.cut(text)), _calls(calls, call_round))
    return Answer(deltas, "tool_calls" if calls else "stop")


def _calls(calls: Sequence[Call], call_round: str) -> Iterator[Delta]:
    for index, (name, arguments) in enumerate(calls):
        yield CallStart(index, f"call_demo_{call_round}_{index}", name)
        for piece in tokens.cut(arguments):
            yield Arguments(index, piece)


def _silently(spoken: Answer) -> Answer:
    deltas = [delta for delta in spoken.deltas if not isinstance(delta, Text)]
    return Answer(deltas, spoken.finish)


def _tagged(conversation: Conversation) -> str:
    return f"{conversation.seed:08x}_{conversation.round}"


def _write(path: str, content: str) -> Call:
    return "write_file", _json({"path": path, "content": content})


def _use(skill: str) -> Call:
    return "use_skill", _json({"name": skill})


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, ensure_ascii=False)


def _generate(conversation: Conversation) -> Answer:
    name, brief, seed = conversation.name, conversation.brief, conversation.seed
    theme = theme_of(brief)
    files = persona_files(name, brief, seed)
    skills = skills_for(brief)
    intro = (
        f"Here comes {name} — a companion for {theme.subject}. I am the scripted demo model, so I"
        f" fill in templates from your brief: {len(files)} files and {len(skills)} skills."
    )
    calls = [_write(path, content) for path, content in files.items()] + list(map(_use, skills))
    return _told(intro, _offered(conversation, calls), call_round=_tagged(conversation))


def _refine(conversation: Conversation) -> Answer:
    request = conversation.request
    change = edit(
        request, conversation.name, conversation.brief, conversation.files, conversation.seed
    )
    calls = [_write(path, content) for path, content in change.writes]
    calls += [("delete_file", _json({"path": path})) for path in change.deletes]
    if (theme := theme_of(request)) is not GENERAL:
        calls.append(_use(theme.skills[0]))
    text = f"I'll take care of “{quoted(request, 120)}”: {change.said}."
    return _told(text, _offered(conversation, calls), call_round=_tagged(conversation))


def _offered(conversation: Conversation, calls: Iterable[Call]) -> list[Call]:
    return [call for call in calls if call[0] in conversation.tools]


def _closing(conversation: Conversation) -> str:
    refused = [result for result in conversation.results if result.refused]
    if refused:
        reason = quoted(refused[0].reason, 160)
        return f"That is what I could do. Left out: {len(refused)} — the first reason was: {reason}"
    written = [
        str(path)
        for result in conversation.results
        if result.name == "write_file" and (path := _path_of(result.arguments))
    ]
    files = ", ".join(f"`{path}`" for path in written) or "the files"
    return (
        f"Done 🎉 {conversation.name} is ready, with {files}. Tell me what to change — the scripted"
        " demo model will do as if it understood."
    )


def _path_of(arguments: str) -> object:
    try:
        document = json.loads(arguments)
    except ValueError:
        return None
    return document.get("path") if isinstance(document, dict) else None


def _opinion(conversation: Conversation) -> str:
    theme = theme_of(conversation.brief)
    known = ", ".join(f"`{path}`" for path in list(conversation.files)[:5])
    shown = f"The files so far are {known}. " if known else ""
    return (
        f"You wrote: “{quoted(conversation.request, 160)}”. {shown}{conversation.name} "
        f"{theme.habits[conversation.seed % len(theme.habits)]}, and would answer in that spirit. "
        "Nothing was changed; ask me to add, shorten, rename or delete something — and I will. "
        "This is a scripted demo answer, no language model was asked."
    )


_CHAT_MIDDLES = (
    "Let me think about it step by step. First comes what you know already, then what you would"
    " like to find out, and last the one thing that can be done today — small, but done.",
    "There are two sides to it. One is practical: what has to happen, in which order, and who waits"
    " for whom. The other is a matter of taste — like a good café, it needs no reason.",
    "A picture may help. Imagine a river with stepping stones: every token that you see arriving is"
    " one of them, and you can stop anywhere, look around — and go on from there.",
)
_CHAT_ENDS = (
    "Ask me something else, or stop me in the middle to see what happens. 🎉",
    "Try to reload the page while I am still writing: not a word should be lost.",
    "If you come back later, this text will still be here — that part is real.",
)


def _chat(conversation: Conversation) -> str:
    seed = conversation.seed
    start = "You said" if conversation.turns == 1 else f"Message {conversation.turns}, and you say"
    return (
        f"{start}: “{quoted(conversation.request, 160)}”. Thank you — I am the scripted demo model,"
        " so there is no language model behind this answer, only a few sentences and a clock. "
        f"{_CHAT_MIDDLES[seed % len(_CHAT_MIDDLES)]} {_CHAT_ENDS[seed // 7 % len(_CHAT_ENDS)]}"
    )


def _words(count: int) -> Iterator[Delta]:
    for index in range(count):
        word = tokens.WORDS[index % len(tokens.WORDS)]
        yield Text(f" {word}" if index else word)


def _numbered(count: int) -> Iterator[Delta]:
    for index in range(1, count + 1):
        yield Text(f" t{index}" if index > 1 else "t1")


def _dictated(conversation: Conversation) -> Answer:
    source = conversation.brief if conversation.kind is Kind.GENERATE else conversation.request
    said: Round | None = dictated_round(source, conversation.round)
    if said is None:
        return _told("The scripted demo model found no JSON with rounds in your message.", ())
    spoken = _told(said.text, said.calls, call_round=_tagged(conversation))
    return Answer(spoken.deltas, said.finish or spoken.finish)


_SPLIT_PAIR = ("\ud83c", "\udf89")
_STRANGE = ("Chid", "É", " ", *_SPLIT_PAIR, " lone:", "\ud83c", " nul:", "\u0000", " — fin")


def _unicode(conversation: Conversation, with_tools: bool) -> Answer:
    text = map(Text, _STRANGE)
    if not with_tools or conversation.round > 1:
        return Answer(text, "stop")
    # Escapes in the arguments, cut at every third character: a pair is split there as well.
    arguments = json.dumps({"path": "unicode.md", "content": "".join(_STRANGE)})
    pieces = (Arguments(0, arguments[at : at + 3]) for at in range(0, len(arguments), 3))
    start = CallStart(0, f"call_demo_{_tagged(conversation)}_0", "write_file")
    return Answer(itertools.chain(text, [start], pieces), "tool_calls")


def _one_more_note(conversation: Conversation) -> Answer:
    number = conversation.round
    note = _write(f"notes/round-{number}.md", f"# Round {number}\n\nThere is always one more.\n")
    return _told(f"Round {number}, and not the last.", [note], call_round=_tagged(conversation))


def _invalid_files(conversation: Conversation) -> Answer:
    name = conversation.name
    if conversation.round == 1:
        calls: list[Call] = [
            _write("../escape.md", "outside the persona"),
            _write("/etc/persona.md", "an absolute path"),
            _write("nul\u0000.md", "NUL in the path"),
            _write("persona.md", f"# {name}\n\nThe one valid file among these.\n"),
            _write("big.md", "x" * OVERSIZED_BYTES),
            ("write_file", '{"path": "broken.md", "content": "never clo'),
            ("run_shell", _json({"command": "true"})),
            _write("safe\u202egnp.md", "a bidirectional character in the path"),
        ]
        text = "Eight calls, seven of them invalid on purpose."
        return _told(text, calls, call_round=_tagged(conversation))
    refused = [result for result in conversation.results if result.refused]
    if conversation.round == 2 and conversation.results:
        reason = quoted((refused or conversation.results)[0].reason, 120)
        mended = _write("escape.md", f"# {name}, mended\n\nThe path was mended after: {reason}\n")
        return _told("I mend one of them.", [mended], call_round=_tagged(conversation))
    return _told("One was mended; the others stay out.", ())
