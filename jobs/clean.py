"""Which text a request may hold: Unicode scalar values without U+0000 (protocol §1)."""


def unacceptable(text: str) -> str | None:
    """Why this user text is refused, or None: it holds U+0000 or a lone surrogate."""
    if "\x00" in text:
        return "contains U+0000"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate"
    return None
