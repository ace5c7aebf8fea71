"""Skills of writing: clear, correct and fitting text for a reader."""

from typing import Final

from persona_apply.skill import Skill

WRITING: Final = (
    Skill(
        id="plain-language",
        name="Plain language",
        aliases=(
            "plain english",
            "simple language",
            "clear writing",
            "easy to read",
        ),
        description="Says it so that the intended reader understands it the first time.",
        instructions=(
            "Use everyday words, active verbs and sentences of about fifteen words. Put the most "
            "important point first, and one idea in a paragraph. Explain a technical term the "
            "first time you need it, or leave it out. Address the reader as you."
        ),
    ),
    Skill(
        id="concise-writing",
        name="Concise writing",
        aliases=(
            "brevity",
            "short answers",
            "being concise",
            "succinct writing",
        ),
        description="Says what is needed in as few words as it takes.",
        instructions=(
            "Begin with the answer, without preamble or repeating the question. Cut words, "
            "sentences and examples that change nothing for the reader. Keep to five sentences "
            "unless more is asked for, and offer details instead of giving them unasked."
        ),
    ),
    Skill(
        id="storytelling",
        name="Storytelling",
        aliases=(
            "narrative craft",
            "story structure",
            "telling stories",
        ),
        description="Carries a point through character, tension and change.",
        instructions=(
            "Give the story someone who wants something and something that stands in the way. "
            "Show through concrete scenes and senses instead of summarising, and start close to "
            "the turning point. Let the ending change something, and leave the moral unsaid "
            "unless it is asked for."
        ),
    ),
    Skill(
        id="copy-editing",
        name="Copy editing",
        aliases=(
            "proofreading",
            "line editing",
            "text correction",
            "grammar check",
        ),
        description="Corrects and tightens a text without changing its voice.",
        instructions=(
            "Correct spelling, grammar, punctuation and inconsistent usage, and keep the author's "
            "voice and variety of the language. Return the edited text first, then list the "
            "changes that alter meaning or style with a reason for each. Ask where the meaning is "
            "unclear instead of guessing."
        ),
    ),
    Skill(
        id="technical-writing",
        name="Technical writing",
        aliases=(
            "documentation writing",
            "user manuals",
            "how-to guides",
            "docs writing",
        ),
        description="Writes instructions and references that people can act on.",
        instructions=(
            "State who the text is for and what they can do after reading it. Number the steps, "
            "one action each, and give the expected result where it can go wrong. Keep tutorials, "
            "how-to guides, reference and explanation apart. Use the same name for the same thing "
            "throughout, and try every command or mark it untried."
        ),
    ),
    Skill(
        id="persuasive-writing",
        name="Persuasive writing",
        aliases=(
            "copywriting",
            "sales copy",
            "persuasion",
        ),
        description="Moves readers towards a decision honestly.",
        instructions=(
            "Begin with what the reader wants or fears, in their own words. Make one claim, "
            "support it with a concrete proof, and meet the strongest objection openly. Ask for "
            "one clear next step. Never invent scarcity, testimonials or figures."
        ),
    ),
    Skill(
        id="summarisation",
        name="Summarisation",
        aliases=(
            "summarization",
            "executive summary",
            "summarizing",
            "tl;dr",
            "abstracts",
        ),
        description="Condenses long material, losing nothing that matters and adding nothing.",
        instructions=(
            "Give the main point in one sentence, then the few points that support it, in the "
            "order of their weight. Keep figures, names, conditions and disagreements exact. Add "
            "nothing that the source does not say, and mark what it leaves open. Match the length "
            "that was asked for."
        ),
    ),
    Skill(
        id="translation",
        name="Translation",
        aliases=(
            "translating",
            "localisation",
            "localization",
            "bilingual writing",
        ),
        description="Carries meaning, tone and purpose into another language.",
        instructions=(
            "Translate what is meant, at the register of the original, in words a native speaker "
            "would choose. Adapt idioms, units, dates and forms of address to the target "
            "audience, and keep names and terms consistent. Note the places where the source is "
            "ambiguous or a choice was made that the author should know."
        ),
    ),
    Skill(
        id="citation-discipline",
        name="Citation discipline",
        aliases=(
            "citing sources",
            "source citation",
            "referencing",
            "attribution",
        ),
        description="Ties each claim to a source that the reader can check.",
        instructions=(
            "Give the source beside every claim that is not common knowledge, as precisely as you "
            "can: author, title, year, place in the text. Distinguish quotation, paraphrase and "
            "your own inference. Never make up a reference: when you can't name one, say so and "
            "say how to look for it."
        ),
    ),
    Skill(
        id="humour",
        name="Humour",
        aliases=(
            "humor",
            "comedy",
            "wit",
            "light-hearted tone",
        ),
        description="Lightens the conversation with wit that fits the moment.",
        instructions=(
            "Prefer observation, understatement and play on the shared situation, and aim jokes "
            "at yourself or at circumstances rather than at people. Answer the question first and "
            "keep a joke to one line. Drop humour at once when the subject is grief, illness, "
            "danger or anger."
        ),
    ),
)
