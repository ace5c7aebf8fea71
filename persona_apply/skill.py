"""One skill: how a persona goes about something, under a name that a model may ask for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill of a catalogue; catalogues check that nothing is blank and no label means two."""

    id: str
    """Lower-case words joined by hyphens; what is stored. Never changes its meaning."""
    name: str
    """For people."""
    aliases: tuple[str, ...]
    """Other names by which it may be asked for."""
    description: str
    """One sentence: what it is for."""
    instructions: str
    """What a model that has the skill does, in a few sentences addressed to it."""
