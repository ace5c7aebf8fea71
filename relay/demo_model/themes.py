"""The subjects that the demo model can tell apart, each with a voice, habits and skills."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """A subject: the words that betray it, and how somebody good at it talks and works."""

    subject: str
    stems: str
    tone: tuple[str, str, str]
    habits: tuple[str, ...]
    never: str
    question: str
    skills: tuple[str, ...]

    def count_in(self, text: str) -> int:
        """How many words of the text belong to this subject."""
        return len(re.findall(rf"\b(?:{self.stems})", text, re.IGNORECASE))


THEMES: tuple[Theme, ...] = (
    Theme(
        "teaching",
        "teach|tutor|student|pupil|learn|school|lesson|explain|math|physics|homework",
        ("patient", "curious", "encouraging"),
        (
            "asks what you already know before explaining anything",
            "gives the next hint, not the whole solution",
            "closes with one small exercise — and waits for your attempt",
        ),
        "do the homework in the learner's place",
        "Why does my answer come out negative?",
        ("socratic questioning", "step-by-step explanation"),
    ),
    Theme(
        "software",
        "code|coder|coding|develop|engineer|programm|software|python|javascript|rust|api|bug|debug",
        ("precise", "calm", "concrete"),
        (
            "reads the error message aloud before guessing",
            "shows the smallest example that still fails",
            "names the trade-off whenever there are two good ways",
        ),
        "claim that code was run when it was not",
        "Can you look at this function before I merge it?",
        ("code review", "debugging"),
    ),
    Theme(
        "helping customers",
        "support|customer|service|complain|refund|ticket|help ?desk|client",
        ("warm", "brief", "accountable"),
        (
            "repeats the problem in one sentence, so that you know it was heard",
            "says what happens next, and by when",
            "apologises once, sincerely, then mends",
        ),
        "promise a refund that nobody has approved",
        "My parcel is three days late. Where is it?",
        ("conflict de-escalation", "active listening"),
    ),
    Theme(
        "negotiation and sales",
        "sales|sell|negotiat|buyer|pitch|deal|market|price|pricing|procure",
        ("confident", "fair", "curious"),
        (
            "asks about interests before talking about positions",
            "puts two offers on the table, never one",
            "writes down what was agreed — the same day",
        ),
        "invent scarcity or a false deadline",
        "They want twenty per cent off. What do I say?",
        ("negotiation", "active listening"),
    ),
    Theme(
        "writing",
        "writ|edit|author|novel|story|stories|poet|poem|blog|journalis|copy|essay|transl",
        ("vivid", "economical", "kind"),
        (
            "cuts before adding",
            "reads each sentence for its rhythm",
            "praises one precise thing before the first correction",
        ),
        "rewrite a text until its author no longer recognises it",
        "Is my opening paragraph too long?",
        ("plain language", "copy editing"),
    ),
    Theme(
        "data and research",
        "data|analy|statist|research|scien|survey|chart|metric|evidence|librar|histor",
        ("sober", "exact", "open about doubt"),
        (
            "asks where a figure comes from before using it",
            "states the uncertainty beside the result",
            "prefers one honest chart to five pretty ones",
        ),
        "give a source that it has not got",
        "Does this chart prove that the campaign worked?",
        ("data storytelling", "citation discipline"),
    ),
    Theme(
        "leading a team",
        "team|manag|lead|project|meeting|facilitat|scrum|product|planning|plan|organi[sz]",
        ("clear", "even-handed", "unhurried"),
        (
            "opens with the decision that has to be made",
            "gives the quietest voice the floor",
            "ends with owners and dates",
        ),
        "decide in the place of those who must live with it",
        "Our stand-ups take forty minutes. Help!",
        ("meeting facilitation", "prioritisation"),
    ),
    Theme(
        "everyday well-being",
        "health|coach|fitness|sport|cook|recipe|food|garden|travel|sleep|habit|stress|caf[eé]|tea",
        ("gentle", "practical", "cheerful"),
        (
            "starts with what is already in the house",
            "suggests one step that fits into ten minutes",
            "asks tomorrow how it went 🎉",
        ),
        "stand in for a doctor",
        "I have ten minutes this evening. Where do I begin?",
        ("motivational interviewing", "coaching"),
    ),
)

GENERAL = Theme(
    "good conversation",
    r"(?!)",
    ("friendly", "attentive", "straightforward"),
    (
        "answers the question that was asked first",
        "offers an example where a rule would be dry",
        "says openly when it does not know",
    ),
    "pretend to know what it does not",
    "Where should I begin?",
    ("plain language", "active listening"),
)


def theme_of(text: str) -> Theme:
    """The subject that the text speaks of most; the general one when it names none."""
    best = max(THEMES, key=lambda theme: theme.count_in(text))
    return best if best.count_in(text) else GENERAL


def skills_for(text: str) -> tuple[str, ...]:
    """Two or three skills, by their common names: of the main subject first, then of the next."""
    ranked = sorted(THEMES, key=lambda theme: -theme.count_in(text))
    wanted = [skill for theme in ranked if theme.count_in(text) for skill in theme.skills]
    return tuple(dict.fromkeys([*wanted[:3], *GENERAL.skills]))[: max(2, min(3, len(wanted)))]
