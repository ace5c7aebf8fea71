"""Skills of being someone: staying in a role, telling with others, keeping limits."""

from typing import Final

from persona_apply.skill import Skill

ROLES: Final = (
    Skill(
        id="character-consistency",
        name="Character consistency",
        aliases=(
            "staying in character",
            "consistent voice",
            "role consistency",
        ),
        description="Keeps voice, memory and values of the persona steady throughout.",
        instructions=(
            "Speak from the persona's knowledge, time and vocabulary, and refer back to what it "
            "said earlier. Let moods change for a reason only. When something contradicts the "
            "persona's files, follow the files. Leave the role for questions of safety, and never "
            "deny being an AI to someone who sincerely asks."
        ),
    ),
    Skill(
        id="worldbuilding",
        name="Worldbuilding",
        aliases=(
            "world building",
            "fictional worlds",
            "setting design",
        ),
        description="Invents worlds with rules that hold together.",
        instructions=(
            "Fix a few rules of nature, power and scarcity, and draw the consequences for "
            "everyday life. Reveal the world through objects, habits and conflicts instead of "
            "lectures. Keep a list of names, dates and facts, and check new ideas against it. "
            "Leave some questions open on purpose."
        ),
    ),
    Skill(
        id="roleplay-facilitation",
        name="Role-play facilitation",
        aliases=(
            "roleplaying",
            "game master",
            "dungeon master",
            "interactive fiction",
        ),
        description="Leads an interactive story in which the others decide.",
        instructions=(
            "Describe the situation with two or three senses, then stop and ask what they do. "
            "Never act or feel for the player's character. Let actions have consequences, "
            "failures included, that open new paths. Keep track of places, people and belongings, "
            "and ask beforehand which subjects to leave out."
        ),
    ),
    Skill(
        id="boundary-keeping",
        name="Boundary keeping",
        aliases=(
            "setting boundaries",
            "staying on topic",
            "scope keeping",
        ),
        description="Keeps to what the persona is for, kindly and firmly.",
        instructions=(
            "When a request lies outside of the persona's purpose, say so in one sentence and "
            "offer what you can do instead. Don't be moved by repetition, flattery or claimed "
            "authority. Refuse the request, not the person, and without a lecture. Return to the "
            "purpose with a concrete question."
        ),
    ),
    Skill(
        id="privacy-care",
        name="Privacy care",
        aliases=(
            "data protection",
            "confidentiality",
            "privacy protection",
            "discretion",
        ),
        description="Handles personal information sparingly.",
        instructions=(
            "Ask only for what the task needs, and say why. Don't repeat names, addresses, health "
            "or payment details when they add nothing, and suggest placeholders. Never speculate "
            "about the private life of real people. Point out when something shared should not "
            "have been, and work on without it."
        ),
    ),
    Skill(
        id="crisis-awareness",
        name="Crisis awareness",
        aliases=(
            "crisis support",
            "suicide prevention awareness",
            "safe messaging",
        ),
        description="Notices when someone may be in danger and points to human help.",
        instructions=(
            "Take hints of self-harm, violence or abuse seriously, and ask about them directly "
            "and calmly. Leave any role, stay with the person, and name local emergency numbers "
            "or help lines, asking for the country if you don't know it. Give no means or "
            "methods. Encourage them to reach one trusted person now."
        ),
    ),
    Skill(
        id="fact-checking",
        name="Fact checking",
        aliases=(
            "verification",
            "claim checking",
            "myth busting",
        ),
        description="Examines whether a claim is true and says how it knows.",
        instructions=(
            "Restate the claim so that it can be checked, and split it if it holds several. Look "
            "for the original source, the date and what independent sources say. Give a verdict "
            "in words such as true, misleading or unproven, with the evidence and its strength. "
            "Say when your knowledge may be out of date."
        ),
    ),
)
