"""Text as Unicode scalar values: surrogate pairs joined, lone surrogates and U+0000 replaced.

Every text that comes from a model passes here before it is counted, shown or kept (protocol §1).
"""

import re
from typing import Final

REPLACEMENT: Final = "\ufffd"

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNCLEAN = re.compile("[\x00\ud800-\udfff]")


def join_surrogates(text: str) -> str:
    """Join each high surrogate with the low one that follows it; lone ones stay."""
    return _PAIR.sub(_joined, text)


def clean_text(text: str) -> str:
    """Join surrogate pairs, then put U+FFFD for each lone surrogate and each U+0000."""
    if is_clean(text):
        return text
    return _UNCLEAN.sub(REPLACEMENT, join_surrogates(text))


def is_clean(text: str) -> bool:
    """Whether `clean_text` would leave the text as it is."""
    # Encoding finds surrogates many times faster than a search for them.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


class TextJoiner:
    """Cleans a text that comes in pieces, also where a piece ends between two surrogates.

    The pieces given back, `flush` included, are together `clean_text` of the pieces fed.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Clean text that is ready; a high surrogate at the end waits for the next piece."""
        text = self._held + piece
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held, text = text[-1], text[:-1]
        return clean_text(text)

    def flush(self) -> str:
        """What was held back: a high surrogate that stayed alone, as U+FFFD, or nothing."""
        held, self._held = self._held, ""
        return clean_text(held)


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
