"""What is asked for by chance: a script of the model, and what it must lead to."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.waves import words

SAID = "ChidÉ 🎉 says: naïve café — 日本語 👩\u200d🚀 e\u0301, and so on. "

# Script and code; each name is used with other numbers every time.
FAILING = (
    ("demo-pace-60-truncated-after-{n}", "model_truncated"),
    ("demo-pace-60-broken-after-{n}", "model_truncated"),
    ("demo-pace-60-badjson-after-{n}", "model_error"),
    ("demo-pace-60-errorevent-after-{n}", "model_error"),
    ("demo-pace-60-silent-after-{n}", "model_timeout"),
    ("demo-pace-60-comments-after-{n}", "model_timeout"),
    ("demo-empty-delay-{n}", "empty_answer"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request: its model, what is said, what else is in its body, and what may come of it."""

    model: str
    said: str
    text: str | None = None
    """The whole answer where the script fixes it."""
    fails: frozenset[str] = frozenset()
    tokens: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


def anything(rng: random.Random, chance: float) -> Wish:
    """Of all kinds and fates, by this chance from 0 to 1."""
    said = greeting(rng)
    if chance < 0.12:
        script, code = rng.choice(FAILING)
        return Wish(script.format(n=rng.randint(1, 40)), said, fails=frozenset({code}))
    if chance < 0.3:
        said = SAID[: rng.randint(10, len(SAID))].strip() + said
        model = f"demo-echo-pace-{rng.randint(15, 60)}-bytes-{rng.randint(5, 90)}"
        return Wish(model, said, text=said)
    if chance < 0.37:
        model, brief = f"demo-pace-{rng.randint(400, 900)}", "A calm companion for bird watchers. "
        return Wish(model, brief + said, body={"kind": "generate", "name": "Chidé"})
    return some_words(rng, rng.randint(5, 90))


def some_words(rng: random.Random, count: int, pace: int | None = None) -> Wish:
    """So many words, at this pace or some."""
    model = f"demo-words-{count}-pace-{pace or rng.randint(12, 60)}"
    return Wish(model, greeting(rng), text=words(count), tokens=count)


def words_and_silence(rng: random.Random, count: int) -> Wish:
    """So many words, and then none for longer than is waited for."""
    model = f"demo-words-{count + 10}-pace-60-silent-after-{count}"
    return Wish(model, greeting(rng), fails=frozenset({"model_timeout"}))


def greeting(rng: random.Random) -> str:
    """What nobody else says."""
    return f"Hello {uuid.UUID(int=rng.getrandbits(128))}"
