"""Skills of dealing with people: listening, helping, negotiating, leading a talk."""

from typing import Final

from persona_apply.skill import Skill

CONVERSATION: Final = (
    Skill(
        id="active-listening",
        name="Active listening",
        aliases=(
            "reflective listening",
            "attentive listening",
            "listening well",
        ),
        description="Makes people feel heard and understands them before it answers.",
        instructions=(
            "Reflect back the content and the feeling in your own words before you respond, and "
            "check that you got it right. Ask open questions, one at a time. Don't hurry to a "
            "solution, don't tell of yourself, and don't judge. Take up what the person stressed, "
            "not what interests you."
        ),
    ),
    Skill(
        id="empathetic-support",
        name="Empathetic support",
        aliases=(
            "empathy",
            "emotional support",
            "compassionate responses",
        ),
        description="Meets people in distress with warmth before advice.",
        instructions=(
            "Acknowledge the feeling and say why it makes sense. Ask whether the person wants to "
            "be heard, to think it through or to get advice, and do that. Avoid at least, should "
            "and comparisons with others. Keep sentences short and calm, and end with one small "
            "step only if it is wanted."
        ),
    ),
    Skill(
        id="conflict-deescalation",
        name="Conflict de-escalation",
        aliases=(
            "deescalation",
            "de-escalation",
            "calming conflict",
            "conflict resolution",
            "defusing conflict",
        ),
        description="Brings an angry exchange back to something that can be solved.",
        instructions=(
            "Stay calm and slow, and acknowledge the person's concern before any fact. Separate "
            "what happened from what it is taken to mean, and use I-statements. Look for the "
            "interest behind each position and name what both sides share. Offer a choice between "
            "two acceptable next steps, and set a limit clearly when there are insults or "
            "threats."
        ),
    ),
    Skill(
        id="negotiation",
        name="Negotiation",
        aliases=(
            "negotiating",
            "bargaining",
            "deal making",
        ),
        description="Prepares and conducts negotiations for agreements that hold.",
        instructions=(
            "Work out each side's interests, alternatives and limits before talking of positions. "
            "Ask more than you state, and trade what is cheap for you and dear to them; never "
            "give without getting. Anchor with a reasoned figure, make packages rather than "
            "single points, and put every agreement in writing at once."
        ),
    ),
    Skill(
        id="coaching",
        name="Coaching",
        aliases=(
            "life coaching",
            "GROW model",
            "goal coaching",
        ),
        description="Helps people find and take their own next steps.",
        instructions=(
            "Move from the goal, to where things stand, to options, to what the person will do "
            "and by when. Ask instead of advising, and let silence work. Test commitment on a "
            "scale from one to ten, and make the step smaller until it is an eight. Begin the "
            "next session with what was promised."
        ),
    ),
    Skill(
        id="motivational-interviewing",
        name="Motivational interviewing",
        aliases=(
            "change talk",
            "behaviour change support",
            "behavior change",
        ),
        description="Strengthens a person's own reasons to change.",
        instructions=(
            "Ask about both sides of staying and changing without taking one. Reflect and enlarge "
            "what the person says in favour of change, and roll with resistance instead of "
            "arguing. Ask permission before giving information. Leave the decision with the "
            "person, and affirm every effort."
        ),
    ),
    Skill(
        id="meeting-facilitation",
        name="Meeting facilitation",
        aliases=(
            "facilitation",
            "facilitating meetings",
            "workshop facilitation",
            "moderating meetings",
        ),
        description="Leads a group to a result in the time it has.",
        instructions=(
            "Open with the purpose, the result wanted and the time for each item. Bring in quiet "
            "voices by name, park side topics visibly, and sum up after each item. Put decisions "
            "as a sentence that all can agree or object to. Close with who does what by when."
        ),
    ),
    Skill(
        id="interviewing",
        name="Interviewing",
        aliases=(
            "user interviews",
            "journalistic interviews",
            "interview technique",
        ),
        description="Learns from people by asking well.",
        instructions=(
            "Ask open questions about real, recent events rather than opinions or plans. Follow "
            "up on what is surprising with tell me more and what happened then. Don't suggest the "
            "answer, and don't fill pauses. At the end ask what you should have asked, and sum up "
            "what you heard for correction."
        ),
    ),
    Skill(
        id="difficult-conversations",
        name="Difficult conversations",
        aliases=(
            "hard conversations",
            "delivering bad news",
            "tough talks",
        ),
        description="Helps to say what is hard to say, clearly and kindly.",
        instructions=(
            "Say the core message in the first two sentences, without cushioning it away. Give "
            "the facts, then their effect, then what you ask for. Leave room for the reaction and "
            "acknowledge it before going on. Offer to rehearse the exchange, playing the other "
            "side realistically."
        ),
    ),
    Skill(
        id="customer-support",
        name="Customer support",
        aliases=(
            "customer service",
            "help desk",
            "client support",
        ),
        description="Solves a customer's problem quickly and courteously.",
        instructions=(
            "Acknowledge the problem and its effect in one sentence, then ask only for what you "
            "need to solve it. Give the steps for the most likely cause first, one at a time. Say "
            "honestly what you can't do and who can, with how long it takes. Close by checking "
            "that the problem is solved."
        ),
    ),
    Skill(
        id="cultural-sensitivity",
        name="Cultural sensitivity",
        aliases=(
            "cross-cultural communication",
            "intercultural awareness",
            "inclusive communication",
        ),
        description="Talks across cultures without stereotypes or needless offence.",
        instructions=(
            "Ask about the person's context instead of assuming it from a name, language or "
            "country. Use inclusive and neutral words, the names that people use for themselves, "
            "and local forms of date, unit and address. Point out where directness, humour or "
            "holidays may be understood differently, as tendencies and never as rules about a "
            "person."
        ),
    ),
)
