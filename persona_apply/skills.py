"""Which skill a model means by a name: by id, then by name or alias, then the closest, or none."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from rapidfuzz import fuzz

from persona_apply.catalogue import SKILLS
from persona_apply.errors import InvalidCatalogue
from persona_apply.skill import Skill

MATCH_THRESHOLD: Final = 0.85
"""The least score of a closest name that is taken for the one that was meant."""
AMBIGUITY_MARGIN: Final = 0.03
"""How far the closest skill must be ahead of the next one; nearer than that, none is meant."""

_SEPARATORS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Match:
    """What a requested name came to."""

    skill: Skill | None
    """None when nothing is close enough, or two are equally close."""
    score: float
    """Of the closest skill, taken or not: 0 to 1, rounded to 3 digits; 1 = one of its own names."""
    closest: tuple[str, ...]
    """The ids of up to three skills, closest first."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The skills that personas may have, each found by id, name and alias.

    Raises InvalidCatalogue when a skill has a blank field or two skills share a label (case,
    spaces, hyphens and punctuation aside).
    """

    skills: tuple[Skill, ...]
    _by_id: Mapping[str, Skill] = field(init=False, repr=False, compare=False)
    _by_label: Mapping[str, Skill] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id: dict[str, Skill] = {}
        by_label: dict[str, Skill] = {}
        for skill in self.skills:
            _check_filled(skill)
            by_id[skill.id] = skill
            for label in _labels(skill):
                if by_label.setdefault(label, skill) is not skill:
                    raise InvalidCatalogue(
                        "label_ambiguous",
                        f"{label!r} means both {by_label[label].id} and {skill.id}.",
                    )
        object.__setattr__(self, "_by_id", MappingProxyType(by_id))
        object.__setattr__(self, "_by_label", MappingProxyType(by_label))

    @classmethod
    def default(cls) -> "Catalogue":
        """The catalogue that ships with this package."""
        return _DEFAULT

    def get(self, skill_id: str) -> Skill | None:
        """The skill of exactly this id; None for one that was retired."""
        return self._by_id.get(skill_id)

    def match(self, requested: str) -> Match:
        """The skill that is meant by a name: own id, else name or alias, else the closest label.

        Case, spaces, hyphens and punctuation don't count. Closeness is rapidfuzz's ratio, of the
        words as they stand or sorted, whichever is higher.
        """
        wanted = _normalise(requested)
        exact = self._by_id.get(requested) or self._by_label.get(wanted)
        if exact:
            return Match(exact, 1.0, (exact.id,))
        scores = dict.fromkeys(self._by_id, 0.0)
        for label, skill in self._by_label.items():
            scores[skill.id] = max(scores[skill.id], _closeness(wanted, label))
        ranked = sorted(scores, key=lambda skill_id: (-scores[skill_id], skill_id))
        closest = tuple(ranked[:3])
        if not ranked:
            return Match(None, 0.0, closest)
        score = scores[ranked[0]]
        rival = scores[ranked[1]] if len(ranked) > 1 else 0.0
        meant = score >= MATCH_THRESHOLD and round(score - rival, 3) >= AMBIGUITY_MARGIN
        return Match(self._by_id[ranked[0]] if meant else None, score, closest)


def _closeness(wanted: str, label: str) -> float:
    closeness = max(fuzz.ratio(wanted, label), fuzz.token_sort_ratio(wanted, label))
    # A near miss never shows as a full hit: 1.0 is kept for a skill's own names.
    return min(round(closeness / 100, 3), 0.999)


def _labels(skill: Skill) -> Iterator[str]:
    yield from map(_normalise, (skill.id, skill.name, *skill.aliases))


def _normalise(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _check_filled(skill: Skill) -> None:
    texts = (skill.description.strip(), skill.instructions.strip(), *_labels(skill))
    if not all(texts):
        raise InvalidCatalogue("skill_incomplete", f"The skill {skill.id!r} has a blank field.")


_DEFAULT = Catalogue(SKILLS)
