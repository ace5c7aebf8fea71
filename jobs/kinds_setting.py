"""RELAY_KINDS: an application's kinds, imported where the setting says, or one clear refusal."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from jobs.kinds import CustomKind, Kinds
from jobs.settings import InvalidSetting

_VARIABLE = "RELAY_KINDS"


def load_kinds(setting: str) -> Kinds:
    """The kinds that this setting names: `my_app.kinds:summary`, several with commas between.

    Each is a CustomKind, or several of them. Importing runs the application's code. Raises
    InvalidSetting.
    """
    declared: list[CustomKind] = []
    for place in filter(None, (part.strip() for part in setting.split(","))):
        declared += _declared_at(place)
    try:
        return Kinds(declared)
    except ValueError as error:
        raise InvalidSetting(_VARIABLE, str(error)) from None


def _declared_at(place: str) -> list[CustomKind]:
    module, colon, name = place.partition(":")
    if not (colon and module and name.isidentifier()):
        raise InvalidSetting(_VARIABLE, f"{place!r} is not a place like my_app.kinds:registry")
    try:
        found: Any = getattr(import_module(module), name)
        several = list(found) if isinstance(found, Iterable) else [found]
    except (Exception, SystemExit) as error:
        # Whatever the application's own code raises, or ends with: an operator gets one line of it.
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidSetting(_VARIABLE, f"{place!r} can't be imported: {told}") from error
    if not several or not all(isinstance(one, CustomKind) for one in several):
        raise InvalidSetting(_VARIABLE, f"{place!r} is no CustomKind, nor several of them")
    return several
