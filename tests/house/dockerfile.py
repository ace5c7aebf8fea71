"""Read the Dockerfile: its stages, each with its instructions in order."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Stage:
    """What one FROM is followed by: (instruction, its text) in order, and its environment."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Every variable that it sets."""
        texts = " ".join(text for name, text in self.steps if name == "ENV")
        return dict(re.findall(r"(\w+)=(\S+)", texts))

    def last(self, name: str) -> str:
        """The text of the last instruction of this name."""
        return [text for step, text in self.steps if step == name][-1]

    def argv(self, name: str) -> list[str]:
        """The words of an instruction in exec form."""
        text = self.last(name)
        words: list[str] = json.loads(text[text.index("[") :])
        return words


def stages() -> list[Stage]:
    """Every stage of the file; ValueError for what stands before the first."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: list[Stage] = []
    for line in plain.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(rest))
        elif name and not found:
            raise ValueError(f"{name} stands before the first FROM")
        elif name:
            found[-1].steps.append((name, " ".join(rest.split())))
    return found
