"""What an attempt says in a test: drawn at random, or a refine with all that one may bring."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from jobs.attempt_log import AttemptLog
from jobs.events import FileDelta, Notice
from jobs.generation import FileChange, SkillChoice
from tests.relay.stage import Author


@dataclass(frozen=True, slots=True)
class Say:
    """A piece of the model's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A piece of a file while it is written."""

    path: str
    text: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Flush:
    """All that came so far reaches Redis: what follows is another event."""


Act = Say | Preview | FileChange | SkillChoice | Notice | Flush
Script = Sequence[Act]

_SPOKEN = 'ChidÉ 🎉 and "quotes" \\ \n\r\t\u2028\x07\x7f漢字\U0010ffff'
_PIECES = st.one_of(
    st.sampled_from(["ChidÉ 🎉", "C", "hid", "É", " ", "🎉", "\n\n", '"', "\\"]),
    st.builds(
        lambda start, length: _SPOKEN[start : start + length],
        st.integers(0, len(_SPOKEN) - 1),
        st.integers(1, 9),
    ),
)
_ACTS: st.SearchStrategy[Act] = st.one_of(
    st.builds(Say, _PIECES),
    st.builds(Say, _PIECES),
    st.just(Flush()),
    st.builds(Preview, st.sampled_from(["a.md", "notes/É.md"]), _PIECES, st.booleans()),
    st.just(FileChange("a.md", "write", 3, "ab" * 32)),
    st.just(SkillChoice("negociation", "negotiation", 0.91)),
    st.just(Notice("invalid_path", "ein Ümläut\nand a line")),
)
scripts: st.SearchStrategy[Script] = st.lists(_ACTS, max_size=12)

REFINE: Script = (
    Say("I'll mend "),
    Flush(),
    Say("ChidÉ"),
    Flush(),
    Say(" 🎉."),
    Preview("a.md", "# One"),
    Flush(),
    Preview("a.md", "\nTwo"),
    Preview("b.md", "B"),
    Flush(),
    Notice("invalid_path", "a path is relative"),
    FileChange("a.md", "write", 9, "cd" * 32),
    SkillChoice("writing", "writing", 1.0),
    Flush(),
    Say("\n\n"),
    Say("Done: "),
    Flush(),
    Preview("b.md", "BB", anew=True),
    Flush(),
    FileChange("b.md", "write", 2, "ef" * 32),
    Say("all good."),
    Flush(),
)
"""Two rounds of text, files, a skill and a notice."""


async def play(author: Author, log: AttemptLog, script: Script) -> None:
    """Appends all of it; what stands at the end has reached Redis."""
    written: dict[str, int] = {}
    for act in script:
        match act:
            case Say():
                log.append_text(act.text)
            case Preview():
                at = 0 if act.anew else written.get(act.path, 0)
                written[act.path] = at + len(act.text)
                log.append_file_delta(FileDelta(act.path, at, act.text))
            case Flush():
                await author.flush()
            case FileChange():
                log.append("file", act)
            case SkillChoice():
                log.append("skill", act)
            case Notice():
                log.append("notice", act)
    await author.flush()
