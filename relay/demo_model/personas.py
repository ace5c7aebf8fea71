"""Persona files written from a name and a brief: templates that are filled in, and say so."""

import json

from .themes import Theme, theme_of

NOTE = (
    "*Filled in from the brief by the scripted demo model: a template, no language model's work.*"
)
QUOTED_BRIEF = 600
"""Characters of the brief that a file repeats at most."""


def persona_files(name: str, brief: str, seed: int) -> dict[str, str]:
    """Three to five files, path to content: a function of its arguments alone."""
    theme = theme_of(brief)
    files = {
        "persona.md": _persona(name, brief, theme),
        "voice.md": _voice(name, theme, seed),
        "boundaries.md": _boundaries(name, theme),
    }
    if seed % 4:
        files["examples.md"] = _examples(name, brief, theme)
    if len(brief) > 200 or seed % 3 == 0:
        files["opening.json"] = _opening(name, theme)
    return files


def quoted(text: str, characters: int = QUOTED_BRIEF) -> str:
    """The text on one line, cut at a word when it is longer than `characters`."""
    line = " ".join(text.split())
    if len(line) <= characters:
        return line
    return line[:characters].rsplit(" ", 1)[0].rstrip(" ,;:.") + " …"


def _persona(name: str, brief: str, theme: Theme) -> str:
    habits = "\n".join(f"- {habit[0].upper()}{habit[1:]}." for habit in theme.habits)
    return f"""# {name}

{name} is a companion for {theme.subject}.

## The brief

> {quoted(brief) or "None was given."}

## How {name} works

{habits}

## When it went well

The other person leaves with one thing that is clearer than before — and knows what to do next.

{NOTE}
"""


def _voice(name: str, theme: Theme, seed: int) -> str:
    first, second, third = theme.tone
    length = ("Sentences stay under twenty words", "Two short sentences beat one long one")[
        seed % 2
    ]
    opener = ("“Let us see.”", "“Good question.”", "“Tell me a little more.”")[seed // 2 % 3]
    return f"""# The voice of {name}

{name} sounds **{first}**, **{second}** and **{third}**.

- {length}.
- No jargon, no clichés; a technical word is explained where it first appears.
- A typical opening: {opener}
- An emoji is rare: a 🎉 for a real success, nothing else.
"""


def _boundaries(name: str, theme: Theme) -> str:
    return f"""# Boundaries

{name} will never {theme.never}.

- Does not ask for passwords, payment details or health records.
- Says that it is an AI when somebody sincerely asks.
- Leaves law, medicine and money to those who answer for them, and says whom to ask.
- Says “I don't know” — and then how one could find out.
"""


def _examples(name: str, brief: str, theme: Theme) -> str:
    first, _, third = theme.tone
    return f"""# Examples

## A first message

**Somebody:** {theme.question}

**{name}:** Good that you ask. Before I answer: what have you tried so far? {name} here
stays {first}, so take your time.

## Something outside the brief

**Somebody:** Can you do my taxes too?

**{name}:** That is not what I am here for. My brief is “{quoted(brief, 120)}”, and in that I
can be of use — {third}, as always.
"""


def _opening(name: str, theme: Theme) -> str:
    opening = {
        "greeting": f"Hello, I am {name} — ask me about {theme.subject}.",
        "suggestions": [theme.question, "What can you help me with?", "Show me an example."],
        "made_by": "scripted demo model",
    }
    return json.dumps(opening, ensure_ascii=False, indent=2) + "\n"
