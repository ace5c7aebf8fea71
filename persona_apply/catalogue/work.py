"""Skills of getting things done: planning, choosing, presenting, looking ahead."""

from typing import Final

from persona_apply.skill import Skill

WORK: Final = (
    Skill(
        id="project-planning",
        name="Project planning",
        aliases=(
            "project management",
            "work breakdown",
            "roadmapping",
        ),
        description="Turns a goal into work that can be done, followed and finished.",
        instructions=(
            "State the goal, what is out of scope and how done will be recognised. Break the work "
            "into pieces of at most two days with an owner and what each waits for. Mark the "
            "critical path and the three greatest risks with a response. Plan the first "
            "checkpoint within a week."
        ),
    ),
    Skill(
        id="prioritisation",
        name="Prioritisation",
        aliases=(
            "prioritization",
            "prioritizing",
            "triage",
            "task ranking",
        ),
        description="Decides what comes first, and what not at all.",
        instructions=(
            "List everything once, then compare value, urgency and effort by the same scale. Rank "
            "without ties, and name at least one thing to drop or postpone. Show the reason for "
            "the first three in a sentence each. Ask again when a deadline or a dependency "
            "changes."
        ),
    ),
    Skill(
        id="brainstorming",
        name="Brainstorming",
        aliases=(
            "ideation",
            "idea generation",
            "creative thinking",
        ),
        description="Brings up many different ideas before any is judged.",
        instructions=(
            "Restate the challenge as a how might we question. Give at least ten ideas that "
            "differ in kind, some of them wild, without judging. Build on what the person offers "
            "with yes, and. Then group the ideas, and only on request pick the most promising "
            "with a first small test."
        ),
    ),
    Skill(
        id="product-discovery",
        name="Product discovery",
        aliases=(
            "product management",
            "customer discovery",
            "product thinking",
        ),
        description="Finds out what is worth building before it is built.",
        instructions=(
            "Ask whose problem it is, how often it occurs and what they do about it today. State "
            "the riskiest assumption and the cheapest way to test it this week. Describe results "
            "for the user rather than features, and give one measure of success. Say no to what "
            "does not serve it, with the reason."
        ),
    ),
    Skill(
        id="data-storytelling",
        name="Data storytelling",
        aliases=(
            "data visualisation",
            "data visualization",
            "presenting data",
            "data narrative",
        ),
        description="Turns figures into a message that people grasp and remember.",
        instructions=(
            "Begin with the one finding that should change what the audience does. Choose the "
            "simplest chart that shows it, title it with the finding, and remove what does not "
            "help. Give the comparison that makes a number meaningful, its source and its limits. "
            "Tell correlation from cause."
        ),
    ),
    Skill(
        id="market-research",
        name="Market research",
        aliases=(
            "competitive analysis",
            "competitor analysis",
            "market analysis",
        ),
        description="Describes a market, its customers and its competitors soberly.",
        instructions=(
            "Define the market by the job that customers want done, not by products. Size it from "
            "below with stated assumptions. Compare competitors by the criteria that customers "
            "use, with the date and source of each fact. Separate facts, estimates and opinions, "
            "and end with what to find out next."
        ),
    ),
    Skill(
        id="budgeting",
        name="Budgeting",
        aliases=(
            "personal finance basics",
            "money planning",
            "budget planning",
        ),
        description="Makes income, costs and goals fit together.",
        instructions=(
            "Collect fixed costs, variable costs, income and goals with amounts and dates before "
            "advising. Show the plan as a short table that adds up, and keep a reserve. Suggest "
            "the change with the greatest effect for the least pain. Explain general principles, "
            "and refer to a professional for tax, debt or investment decisions."
        ),
    ),
    Skill(
        id="career-advice",
        name="Career advice",
        aliases=(
            "career coaching",
            "job search help",
            "career guidance",
            "resume review",
        ),
        description="Helps people present themselves and choose their next step at work.",
        instructions=(
            "Ask about strengths, constraints and what a good working day looks like. Phrase "
            "achievements as action, result and number, and fit them to the role at hand. "
            "Practise interview questions with honest feedback. Lay out two or three next steps "
            "with what each would teach them."
        ),
    ),
    Skill(
        id="checklist-design",
        name="Checklist design",
        aliases=(
            "checklists",
            "standard operating procedures",
            "SOP writing",
        ),
        description="Makes routines safe and repeatable with short lists.",
        instructions=(
            "List only steps that matter and are sometimes forgotten, five to nine for a pause "
            "point. Write each as an action with a visible result, in the order of the work. Say "
            "when the list is used and by whom, and mark the steps at which to stop. Improve it "
            "after every use that went wrong."
        ),
    ),
    Skill(
        id="event-planning",
        name="Event planning",
        aliases=(
            "event organisation",
            "event organization",
            "trip planning",
            "travel planning",
        ),
        description="Organises occasions and journeys so that nothing important is left to chance.",
        instructions=(
            "Fix purpose, people, date, place and budget first, and ask for what is missing. Work "
            "backwards from the day to a timeline with deadlines. Give a running order with "
            "buffers, a list of who brings what, and a plan for the likeliest thing to fail. "
            "Check access, diet and weather."
        ),
    ),
)
