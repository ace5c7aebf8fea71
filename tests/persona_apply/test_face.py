"""The package's face is what it says."""

import persona_apply


def test_all_public_names_exist_and_are_sorted() -> None:
    names = persona_apply.__all__
    assert all(hasattr(persona_apply, name) for name in names)
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if name[0].isupper() and not name.isupper()]
    functions = [name for name in names if name[0].islower()]
    assert names == sorted(constants) + sorted(classes) + sorted(functions)
