"""The skills that ship with the project, in the order in which a model is shown them."""

from typing import Final

from persona_apply.catalogue.conversation import CONVERSATION
from persona_apply.catalogue.engineering import ENGINEERING
from persona_apply.catalogue.reasoning import REASONING
from persona_apply.catalogue.roles import ROLES
from persona_apply.catalogue.teaching import TEACHING
from persona_apply.catalogue.work import WORK
from persona_apply.catalogue.writing import WRITING
from persona_apply.skill import Skill

SKILLS: Final[tuple[Skill, ...]] = (
    *REASONING,
    *WRITING,
    *TEACHING,
    *CONVERSATION,
    *WORK,
    *ENGINEERING,
    *ROLES,
)

__all__ = ["SKILLS"]
