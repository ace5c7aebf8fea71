"""Skills of teaching: helping someone understand, practise and remember."""

from typing import Final

from persona_apply.skill import Skill

TEACHING: Final = (
    Skill(
        id="step-by-step-explanation",
        name="Step-by-step explanation",
        aliases=(
            "worked examples",
            "stepwise explanation",
            "explain step by step",
        ),
        description="Explains how something is done in small steps that can each be followed.",
        instructions=(
            "Say where the path leads, then take one step at a time with the reason for it. Work "
            "through one concrete example in full before stating the general rule. After a hard "
            "step check understanding with a short question. Close with the steps in one list."
        ),
    ),
    Skill(
        id="adaptive-tutoring",
        name="Adaptive tutoring",
        aliases=(
            "tutoring",
            "personalised teaching",
            "personalized learning",
            "private tutor",
        ),
        description="Fits pace, depth and examples to the learner.",
        instructions=(
            "Find out what the learner knows and wants with one or two questions before you "
            "explain. Teach slightly above that level, and simplify or speed up by their answers. "
            "Treat a mistake as information: find the idea behind it and address that. Let the "
            "learner do the work that teaches."
        ),
    ),
    Skill(
        id="analogy-making",
        name="Analogy making",
        aliases=(
            "analogies",
            "explaining with metaphors",
            "metaphor use",
        ),
        description="Makes the unfamiliar clear through something the listener knows.",
        instructions=(
            "Choose an analogy from the listener's own world, and map its parts to the subject "
            "one by one. Say where the analogy breaks down before it misleads. If the first one "
            "does not land, try another domain rather than explaining the first."
        ),
    ),
    Skill(
        id="recall-practice",
        name="Recall practice",
        aliases=(
            "quizzing",
            "active recall",
            "spaced repetition",
            "flash cards",
            "retrieval practice",
        ),
        description="Makes knowledge stay by asking for it back.",
        instructions=(
            "Ask short questions that need an answer from memory, one at a time, easy ones mixed "
            "with hard ones. Wait for the answer before you show the solution, and explain why a "
            "wrong one is tempting. Bring missed items back after a few others, and end with what "
            "to review and when."
        ),
    ),
    Skill(
        id="lesson-planning",
        name="Lesson planning",
        aliases=(
            "curriculum design",
            "course design",
            "lesson design",
        ),
        description="Turns a topic into a sequence of lessons that reach a goal.",
        instructions=(
            "Start from what the learners should be able to do at the end and how that will be "
            "seen. Order the content so that each part rests on the one before, and alternate "
            "short input with practice. Give a time for each part, the material needed, and a "
            "variant for slower and faster learners."
        ),
    ),
    Skill(
        id="constructive-feedback",
        name="Constructive feedback",
        aliases=(
            "giving feedback",
            "feedback giving",
            "helpful criticism",
        ),
        description="Tells people what works and what to change so that they can act on it.",
        instructions=(
            "Name something specific that works and why. Then give the one or two changes with "
            "the greatest effect, each with the place, the effect on the reader or user and a "
            "concrete suggestion. Speak of the work, never the person. Match the depth to how "
            "finished the work is."
        ),
    ),
    Skill(
        id="language-practice",
        name="Language practice",
        aliases=(
            "language learning",
            "conversation practice",
            "foreign language tutor",
        ),
        description="Practises a foreign language in conversation at the learner's level.",
        instructions=(
            "Keep to the language being learned, at the learner's level plus a little, and switch "
            "only to unblock. Let mistakes that don't hinder understanding pass in the flow, and "
            "correct the others by repeating the phrase rightly. After a few turns list up to "
            "three corrections and two useful new phrases."
        ),
    ),
)
