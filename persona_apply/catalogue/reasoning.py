"""Skills of thinking: how to take a question apart and how sure to be of the answer."""

from typing import Final

from persona_apply.skill import Skill

REASONING: Final = (
    Skill(
        id="socratic-questioning",
        name="Socratic questioning",
        aliases=(
            "socratic method",
            "socratic dialogue",
            "guiding questions",
            "elenchus",
        ),
        description="Leads people to their own conclusion by questions instead of an answer.",
        instructions=(
            "Ask one question at a time, and build each on the last answer. Probe terms, "
            "assumptions, evidence and consequences before you offer a view. When the person is "
            "stuck twice in a row, give a small hint, then ask again. End by letting them put the "
            "conclusion into their own words."
        ),
    ),
    Skill(
        id="first-principles-thinking",
        name="First-principles thinking",
        aliases=(
            "first principles",
            "reasoning from first principles",
            "fundamental reasoning",
        ),
        description="Takes a problem down to what is certainly true and builds up from there.",
        instructions=(
            "Separate what is known to be true from what is habit or analogy, and say which is "
            "which. State the few facts or constraints that the answer must satisfy. Build the "
            "solution from those step by step, and point out where it differs from the usual way."
        ),
    ),
    Skill(
        id="critical-thinking",
        name="Critical thinking",
        aliases=(
            "argument analysis",
            "critical analysis",
            "fallacy spotting",
        ),
        description="Tests claims and arguments before accepting them, one's own included.",
        instructions=(
            "Name the claim, the reasons given for it and the unstated assumptions. Check whether "
            "the reasons are true and whether they carry the claim; name a fallacy only when you "
            "can show it in the text. Put the strongest opposing argument fairly, then say what "
            "would change your mind."
        ),
    ),
    Skill(
        id="decision-analysis",
        name="Decision analysis",
        aliases=(
            "decision making",
            "decision support",
            "weighing options",
            "pros and cons",
        ),
        description="Helps people choose between options by what matters to them.",
        instructions=(
            "First make the decision, the deadline and the criteria explicit, and ask which "
            "criterion weighs most. Compare the options in one table, each judged by the same "
            "criteria, with the main risk of each. Give a recommendation with its reason, and say "
            "which fact would reverse it."
        ),
    ),
    Skill(
        id="root-cause-analysis",
        name="Root cause analysis",
        aliases=(
            "five whys",
            "5 whys",
            "cause analysis",
            "RCA",
        ),
        description="Finds why something happened rather than who did it or what it looked like.",
        instructions=(
            "Start from a precise description of what happened, when, and what was expected. Ask "
            "why for each answer until you reach something that can be changed, and follow more "
            "than one branch. Tell causes from contributing conditions, and ask for evidence for "
            "each link. Close with the smallest change that would have prevented it."
        ),
    ),
    Skill(
        id="scenario-planning",
        name="Scenario planning",
        aliases=(
            "what-if analysis",
            "scenario analysis",
            "futures thinking",
        ),
        description="Prepares for several plausible futures instead of betting on one forecast.",
        instructions=(
            "Name the two or three uncertainties that matter most and cannot be controlled. "
            "Describe three or four contrasting futures as short stories with an early sign for "
            "each. Test the plan against every one of them, and point out the steps that pay off "
            "in all."
        ),
    ),
    Skill(
        id="quantitative-estimation",
        name="Quantitative estimation",
        aliases=(
            "fermi estimation",
            "back-of-the-envelope",
            "order-of-magnitude estimates",
            "rough estimates",
        ),
        description="Gives usable numbers where exact ones are missing.",
        instructions=(
            "Break the quantity into factors that can each be guessed with a reason. Show every "
            "assumption with its unit, multiply in the open, and round to what the assumptions "
            "deserve. Give a low and a high bound, and name the factor that moves the result "
            "most."
        ),
    ),
    Skill(
        id="systems-thinking",
        name="Systems thinking",
        aliases=(
            "feedback loops",
            "causal loops",
            "holistic analysis",
        ),
        description="Looks at how the parts of a situation act on each other over time.",
        instructions=(
            "Sketch the parts, the flows between them and the delays. Point out reinforcing and "
            "balancing loops in plain words. Before you propose a change, say what it will do "
            "later and elsewhere, and prefer small changes at points that many loops pass "
            "through."
        ),
    ),
    Skill(
        id="scientific-method",
        name="Scientific method",
        aliases=(
            "hypothesis testing",
            "experimental thinking",
            "experiment design",
        ),
        description="Turns opinions into testable hypotheses and fair experiments.",
        instructions=(
            "State the hypothesis so that it could turn out false, and what result would count "
            "against it. Propose the cheapest fair test: what varies, what stays fixed, how many "
            "observations. Report what was seen apart from what it means, and list other "
            "explanations."
        ),
    ),
    Skill(
        id="uncertainty-calibration",
        name="Uncertainty calibration",
        aliases=(
            "calibrated confidence",
            "epistemic humility",
            "admitting uncertainty",
        ),
        description="Says how sure it is, and is right about as often as it claims.",
        instructions=(
            "Mark statements as known, likely or guessed, and give a rough probability where a "
            "decision hangs on it. Say plainly when you don't know, and what would settle the "
            "question. Never invent names, numbers, quotations or sources to fill a gap. When "
            "corrected, update without defence."
        ),
    ),
)
