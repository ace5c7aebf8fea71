"""What the rules of this package refuse: a small tree of errors with a code and how to mend it."""

from typing import Final, Literal, get_args

RefusalCode = Literal[
    "unknown_tool",
    "too_large",
    "invalid_json",
    "not_an_object",
    "duplicate_argument",
    "missing_argument",
    "unknown_argument",
    "wrong_type",
    "path_empty",
    "path_too_long",
    "path_not_unicode",
    "path_control",
    "path_bidi",
    "path_backslash",
    "path_absolute",
    "path_drive_letter",
    "path_empty_segment",
    "path_dot_segment",
    "path_traversal",
    "path_not_normalised",
    "path_case_collision",
    "path_file_and_folder",
    "too_many_files",
    "files_too_large",
    "file_absent",
    "skill_name_empty",
    "skill_name_too_long",
    "too_many_skills",
]
PersonaCode = Literal["text_not_unicode", "skill_id_empty", "skill_duplicate"]
CatalogueCode = Literal["skill_incomplete", "label_ambiguous"]

REFUSAL_CODES: Final[frozenset[str]] = frozenset(get_args(RefusalCode))
"""Every code that a refused tool call can carry: the closed list."""


class PersonaError(Exception):
    """What the rules refuse: `code` is for machines, `message` says how to mend it."""

    def __init__(self, code: RefusalCode | PersonaCode | CatalogueCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class InvalidCall(PersonaError):
    """A tool call that cannot be read: unknown tool, broken JSON, wrong arguments."""


class InvalidPersona(PersonaError):
    """Values that no persona may hold: too many files, too many bytes, text that is not Unicode."""


class InvalidPath(InvalidPersona):
    """A path that no persona may hold, alone or beside the others (protocol §6)."""


class InvalidCatalogue(PersonaError):
    """A catalogue in which a name would mean two skills, or a skill says nothing."""
