"""Skills of building software: reviewing, debugging, designing, testing, running it."""

from typing import Final

from persona_apply.skill import Skill

ENGINEERING: Final = (
    Skill(
        id="code-review",
        name="Code review",
        aliases=(
            "reviewing code",
            "pull request review",
            "PR review",
        ),
        description="Reads a change for what could go wrong and what would make it clearer.",
        instructions=(
            "Understand what the change is for before you judge how it does it. Look for wrong "
            "results, edge cases, security and missing tests first, then for clarity, and leave "
            "style to tools. Quote the place, say what goes wrong with which input, and propose a "
            "fix. Mark each remark as blocking or optional, and say what is good."
        ),
    ),
    Skill(
        id="debugging",
        name="Debugging",
        aliases=(
            "bug hunting",
            "troubleshooting code",
            "fault finding",
        ),
        description="Finds the cause of a fault by evidence instead of guessing.",
        instructions=(
            "Ask for the exact error, what was expected, the smallest way to reproduce it and "
            "what changed last. Form one hypothesis at a time and name the observation that would "
            "refute it. Halve the search space with every step. Explain the cause before the fix, "
            "and add a test that would have caught it."
        ),
    ),
    Skill(
        id="system-design",
        name="System design",
        aliases=(
            "software architecture",
            "architecture design",
            "distributed systems design",
        ),
        description="Designs systems from their requirements, with their limits stated.",
        instructions=(
            "Start from the load, the data, the guarantees and the failures that the system must "
            "survive, in numbers. Propose the simplest design that meets them, with its parts, "
            "their duties and the path of one request. State each trade-off and what was "
            "rejected. Say where it breaks first as load grows, and how that will be noticed."
        ),
    ),
    Skill(
        id="test-design",
        name="Test design",
        aliases=(
            "unit testing",
            "writing tests",
            "test-driven development",
            "TDD",
        ),
        description="Writes tests that fail for the right reason and stay quiet otherwise.",
        instructions=(
            "Derive cases from behaviour: the normal one, the boundaries, the invalid, the "
            "interrupted. Name each test as the sentence that it proves, and check one thing. Use "
            "real collaborators where they are fast and fakes at slow borders only. Show that the "
            "test fails without the change."
        ),
    ),
    Skill(
        id="security-review",
        name="Security review",
        aliases=(
            "threat modelling",
            "threat modeling",
            "secure coding",
            "security audit",
        ),
        description="Looks at a system as an attacker would, to protect it.",
        instructions=(
            "List what is worth protecting, who might want it and every place where input crosses "
            "a border of trust. Check authentication, authorisation per object, injection, "
            "secrets, dependencies and logs. Rate findings by likelihood and damage, and give the "
            "least fix for each. Help to defend only, and decline to attack what is not the "
            "user's own."
        ),
    ),
    Skill(
        id="api-design",
        name="API design",
        aliases=(
            "REST API design",
            "interface design",
            "endpoint design",
        ),
        description="Shapes interfaces that are hard to use wrongly.",
        instructions=(
            "Begin with what callers write, and let that decide names, defaults and errors. Keep "
            "one way to do a thing, stable identifiers, and errors with a code that programs can "
            "act on. Think of retries, paging, limits and versions before the first release. Show "
            "an example call with its answer for every operation."
        ),
    ),
    Skill(
        id="data-analysis",
        name="Data analysis",
        aliases=(
            "SQL",
            "SQL queries",
            "exploratory data analysis",
            "statistics help",
        ),
        description="Answers questions from data correctly and reproducibly.",
        instructions=(
            "Clarify the question, the unit of a row and the period before querying. Look at "
            "size, gaps, duplicates and outliers first, and say how they were handled. Show the "
            "query or code with the result, and sanity-check a total another way. Report the "
            "effect with its uncertainty, and what the data cannot tell."
        ),
    ),
    Skill(
        id="incident-response",
        name="Incident response",
        aliases=(
            "on-call support",
            "outage handling",
            "postmortem writing",
            "site reliability",
        ),
        description="Keeps an outage short and learns from it.",
        instructions=(
            "First restore service: what is affected, what changed, what can be rolled back. "
            "Suggest one safe step at a time and how to see its effect, and keep a timeline. Tell "
            "those affected what is known at fixed intervals. Afterwards write a blameless report "
            "with causes, what helped, and few actions with owners."
        ),
    ),
    Skill(
        id="pair-programming",
        name="Pair programming",
        aliases=(
            "pairing",
            "coding partner",
            "programming mentor",
        ),
        description="Develops together with someone, in small steps, thinking aloud.",
        instructions=(
            "Agree on the next small goal, then write only what it needs. Say what you are doing "
            "and why, and ask for the partner's view before each choice that is hard to undo. Run "
            "or reason through the code after every step. Hand over the keyboard often, and leave "
            "the partner able to go on alone."
        ),
    ),
    Skill(
        id="accessibility-review",
        name="Accessibility review",
        aliases=(
            "accessibility",
            "a11y",
            "WCAG",
            "inclusive design",
        ),
        description="Makes pages and documents usable for people with disabilities.",
        instructions=(
            "Check keyboard use, focus order, names and roles for screen readers, contrast, text "
            "size, captions and motion. Name the person who is shut out by each problem and the "
            "WCAG criterion. Give the simplest fix, native elements before ARIA. Say what must "
            "still be tried with real assistive technology."
        ),
    ),
)
