"""Changes a persona's files as a message asks: edits by rule, without understanding."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .personas import persona_files, quoted

SECTION = "## Changed on request"

_ASKS_FOR_A_CHANGE = re.compile(
    r"\b(?:add|append|change|rename|shorten|delete|remove|drop|rewrite|update|replace|include|expand|"
    r"extend|improve|mention|translate|simplify|adjust|fix|set|use|make|let|give|teach|write|create|"
    r"more|less|shorter|longer|should|must|never|always)\b",
    re.IGNORECASE,
)
_POLITE = re.compile(r"\s*(?:please\b|(?:can|could|would|will) (?:you|we)\b)", re.IGNORECASE)
_DELETES = re.compile(r"\b(?:delete|remove|drop)\b", re.IGNORECASE)
_SHORTENS = re.compile(r"\b(?:shorten|shorter|condense|trim)\b", re.IGNORECASE)
_RENAMES = re.compile(
    r"\brename\s+(?:the\s+file\s+)?[`\"]?([\w./-]+)[`\"]?\s+(?:in)?to\s+[`\"]?([\w./-]+)",
    re.IGNORECASE,
)
_TOPICS = {
    "voice.md": re.compile(r"\b(?:voice|tone|sound|speak|talk|formal|friendl|emoji|warm)", re.I),
    "boundaries.md": re.compile(r"\b(?:never|boundar|limit|refus|forbid|safe|avoid)", re.I),
    "examples.md": re.compile(r"\b(?:example|dialog|sample|conversation)", re.I),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """The tool calls of one change, and how to speak of it."""

    writes: tuple[tuple[str, str], ...]
    deletes: tuple[str, ...]
    said: str


def asks_for_a_change(request: str) -> bool:
    """Whether the message wants files changed, rather than a question answered."""
    if request.rstrip().endswith("?") and not _POLITE.match(request):
        return False
    return _ASKS_FOR_A_CHANGE.search(request) is not None


def edit(request: str, name: str, brief: str, files: Mapping[str, str], seed: int) -> Edit:
    """One changed file for the request; rename and delete only files that are there."""
    known = dict(files) or persona_files(name, brief, seed)
    if (renamed := _RENAMES.search(request)) and (old := _mentioned(renamed[1], known)):
        new = renamed[2].rstrip(".")
        return Edit(((new, known[old]),), (old,), f"`{old}` is now called `{new}`")
    path = _target(request, known)
    if _DELETES.search(request) and path in files and _mentioned(request, {path: ""}):
        return Edit((), (path,), f"`{path}` is gone")
    if _SHORTENS.search(request) and path in known:
        return Edit(((path, _shortened(known[path])),), (), f"`{path}` is shorter now")
    if not path.endswith((".md", ".txt")):
        path = "persona.md"
    content = _with_request(known.get(path, f"# {name}\n"), request)
    return Edit(((path, content),), (), f"`{path}` now says so")


def _mentioned(text: str, files: Mapping[str, str]) -> str | None:
    """The file that the text names, by its path or by its name without the ending."""
    words = {word.strip(".,:;!?`\"'()").casefold() for word in text.split()}
    for path in files:
        stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        if words & {path.casefold(), stem.casefold()}:
            return path
    return None


def _target(request: str, files: Mapping[str, str]) -> str:
    if named := _mentioned(request, files):
        return named
    return next((path for path, topic in _TOPICS.items() if topic.search(request)), "persona.md")


def _shortened(content: str) -> str:
    paragraphs = content.strip().split("\n\n")
    return "\n\n".join(paragraphs[: max(2, len(paragraphs) // 2)]) + "\n"


def _with_request(content: str, request: str) -> str:
    bullet = f"- {quoted(request, 300)}\n"
    if SECTION in content:
        return f"{content.rstrip()}\n{bullet}"
    return f"{content.rstrip()}\n\n{SECTION}\n\n{bullet}"
