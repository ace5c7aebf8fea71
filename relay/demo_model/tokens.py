"""Cuts texts into word-sized tokens; the tokens of a text, joined, are the text."""

import re

WORDS = ("tea", "lamp", "river", "stone", "café", "cloud", "paper", "song", "naïve", "snow")

MANY_CHARACTERS = 20_000
"""A longer text is cut into large pieces, so that it takes no hour to stream."""


def cut(text: str) -> list[str]:
    """The text's tokens: a word with the space before it, long words in pieces."""
    if len(text) > MANY_CHARACTERS:
        return [text[at : at + 4096] for at in range(0, len(text), 4096)]
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """About the number of tokens that a model would see in the text."""
    return sum(1 for _ in _WORD_OR_MARK.finditer(text))


_TOKEN = re.compile(r"\s{0,8}\S{1,24}|\s{1,8}")
_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
