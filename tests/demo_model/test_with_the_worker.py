"""The worker's own prompts are understood, and its rules take what the scripts send."""

import json
from typing import Any

from jobs.generation import Kind
from jobs.prompts import first_messages
from jobs.store.claims import Context, PersonaRow
from persona_apply import TOOLS, Catalogue, Draft, Persona, Refused, SkillChosen, ToolCall
from relay.demo_model import parse_script
from relay.demo_model.answers import Arguments, CallStart, answer
from relay.demo_model.chat_request import parse_chat_request
from relay.demo_model.conversation import Conversation, read_conversation
from relay.demo_model.conversation import Kind as Understood
from tests.demo_model.asking import BRIEF, NAME

CATALOGUE = Catalogue.default()
NEW = PersonaRow(id="per_1", name=NAME, brief=BRIEF, version=0, files={}, skills=())
MADE = PersonaRow(
    id="per_1",
    name=NAME,
    brief=BRIEF,
    version=1,
    files={"persona.md": "# Ada\n\nOne.\n", "voice.md": "# Voice\n"},
    skills=("negotiation",),
)
PAIR = ((BRIEF, "Done."),)


def understand(kind: Kind, said: str, context: Context) -> Conversation:
    messages = first_messages(kind, said, context, CATALOGUE)
    tools: list[Any] = [] if kind is Kind.CHAT else list(TOOLS)
    body = {"model": "demo", "messages": messages, "tools": tools}
    return read_conversation(parse_chat_request(json.dumps(body).encode()))


def calls(script: str, conversation: Conversation) -> list[ToolCall]:
    """The calls of the first round, put together."""
    started: list[tuple[str, str, list[str]]] = []
    for delta in answer(parse_script(script), conversation).deltas:
        match delta:
            case CallStart(_, id, name):
                started.append((id, name, []))
            case Arguments(index, text):
                started[index][2].append(text)
    return [ToolCall(id, name, "".join(pieces)) for id, name, pieces in started]


def test_the_workers_prompts_are_understood() -> None:
    made = understand(Kind.GENERATE, BRIEF, Context((), NEW))
    assert (made.kind, made.name, made.brief) == (Understood.GENERATE, NAME, BRIEF)
    changed = understand(Kind.REFINE, "Add a joke.", Context(PAIR, MADE))
    assert (changed.kind, changed.name, changed.brief) == (Understood.REFINE, NAME, BRIEF)
    assert dict(changed.files) == {"persona.md": "# Ada\n\nOne.\n", "voice.md": "# Voice\n"}
    assert understand(Kind.CHAT, "Hello.", Context((), None)).kind is Understood.CHAT


def test_every_call_of_a_story_is_accepted() -> None:
    for conversation in (
        understand(Kind.GENERATE, BRIEF, Context((), NEW)),
        understand(Kind.REFINE, "Make her better at code.", Context(PAIR, MADE)),
    ):
        persona = Persona(NAME, BRIEF, conversation.files, ())
        draft = Draft.of(persona, CATALOGUE)
        for call in calls("demo", conversation):
            draft, outcome = draft.take(call)
            assert not isinstance(outcome, Refused), (call, outcome)
            assert not isinstance(outcome, SkillChosen) or outcome.matched, outcome
        assert draft.changes() is not None


def test_all_but_one_of_the_invalid_files_are_refused() -> None:
    conversation = understand(Kind.GENERATE, BRIEF, Context((), NEW))
    draft = Draft.of(Persona(NAME, BRIEF, {}, ()), CATALOGUE)
    codes: list[str] = []
    for call in calls("demo-invalidfiles", conversation):
        draft, outcome = draft.take(call)
        if isinstance(outcome, Refused):
            codes.append(outcome.code)
    assert len(codes) == 7
    assert len(set(codes)) == 7, codes
    changes = draft.changes()
    assert changes is not None
    assert changes.written == ("persona.md",)
