"""Which kinds there are: names, the registry that RELAY_KINDS names, and what figures call them."""

from pathlib import Path

import msgspec
import pytest

from jobs.errors import InvalidRequest
from jobs.generation import Generation, Kind, encode
from jobs.kinds import MOST_KINDS, NO_OTHERS, CustomKind, Kinds
from jobs.kinds_setting import load_kinds
from jobs.measures import Measures
from jobs.settings import InvalidSetting
from tests.jobs.sample_kinds import ALL, KEEPING, LOOKING, SETTING, say_it


def of_kind(kind: str) -> Generation:
    """A generation of this kind, as read from its row."""
    absent = dict.fromkeys(
        ("persona_id", "output", "usage", "error", "started_at", "finished_at"), None
    )
    words = dict.fromkeys(
        ("id", "model", "conversation_id", "input", "created_at", "expires_at", "events_url"), "x"
    )
    return msgspec.convert(
        {**words, **absent, "kind": kind, "state": "queued", "attempt": 0}, Generation
    )


@pytest.mark.parametrize("name", ["chat", "generate", "refine", "a", "summary_2", "s" * 16])
def test_a_well_formed_name_is_a_kind_and_reads_back_as_itself(name: str) -> None:
    kind = Kind(name)
    assert (kind, kind.value, f"{kind}", hash(kind)) == (name, name, name, hash(name))
    assert msgspec.json.decode(encode(of_kind(name)), type=Generation).kind == name
    assert list(Kind) == ["chat", "generate", "refine"]


@pytest.mark.parametrize("name", ["", "s" * 17, "Summary", "2nd", "a-b", "résumé", "a\n", "_a"])
def test_another_word_is_no_kind(name: str) -> None:
    with pytest.raises(ValueError, match="not a valid Kind"):
        Kind(name)
    with pytest.raises(ValueError, match="not a name of 1 to 16"):
        CustomKind(name=name, prompt=say_it)


@pytest.mark.parametrize("name", ["chat", "refine", "other"])
def test_a_name_that_is_taken_can_not_be_declared(name: str) -> None:
    with pytest.raises(ValueError, match="is taken"):
        CustomKind(name=name, prompt=say_it)


def test_a_name_is_declared_once_and_there_are_not_too_many() -> None:
    assert Kinds([KEEPING, KEEPING]).names == (*NO_OTHERS.names, "keeping")
    with pytest.raises(ValueError, match="'keeping' is declared twice"):
        Kinds([KEEPING, CustomKind(name="keeping", prompt=say_it)])
    many = [CustomKind(name=f"kind_{number}", prompt=say_it) for number in range(MOST_KINDS + 1)]
    assert len(Kinds(many[:-1]).custom) == MOST_KINDS
    with pytest.raises(ValueError, match="more than 32"):
        Kinds(many)


def test_the_setting_names_one_kind_or_several() -> None:
    assert load_kinds("") == NO_OTHERS
    assert load_kinds(SETTING).custom == {one.name: one for one in ALL}
    places = "tests.jobs.sample_kinds:KEEPING, tests.jobs.sample_kinds:LOOKING,"
    assert load_kinds(places).custom == {"keeping": KEEPING, "looking": LOOKING}


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("my_app", "'my_app' is not a place like my_app.kinds:registry"),
        ("my_app:", "'my_app:' is not a place"),
        (":registry", "':registry' is not a place"),
        ("my_app:a b", "'my_app:a b' is not a place"),
        ("no_such_app:registry", "can't be imported: ModuleNotFoundError: No module named"),
        ("tests.jobs.sample_kinds:nothing", "can't be imported: AttributeError"),
        ("..relative:x", "can't be imported: TypeError"),
        ("tests.jobs.sample_kinds:SETTING", "is no CustomKind, nor several of them"),
        ("jobs.kinds:MOST_KINDS", "is no CustomKind, nor several of them"),
        ("jobs.kinds:BUILT_IN", "is no CustomKind, nor several of them"),
    ],
)
def test_a_wrong_setting_is_one_clear_refusal(setting: str, reason: str) -> None:
    with pytest.raises(InvalidSetting, match="RELAY_KINDS: ") as refused:
        load_kinds(f"tests.jobs.sample_kinds:KEEPING,{setting}")
    assert reason in refused.value.reason
    assert setting in refused.value.reason
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("exits", "raise SystemExit('no config')", "SystemExit: no config"),
        ("tells_much", "raise RuntimeError('one\\ntwo')", "RuntimeError: one two"),
        ("fails_late", "X = (1 // 0 for _ in 'x')", "ZeroDivisionError: integer"),
    ],
)
def test_a_module_that_ends_or_fails_is_one_clear_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, told: str
) -> None:
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidSetting) as refused:
        load_kinds(f"{name}:X")
    assert str(refused.value).startswith(f"RELAY_KINDS: '{name}:X' can't be imported: {told}")
    assert "\n" not in str(refused.value)


def test_an_input_that_a_kind_refuses_is_named() -> None:
    kinds = Kinds(ALL)
    kinds.refuse_unfit(Kind("keeping"), "quietly")
    kinds.refuse_unfit(Kind.CHAT, "ALOUD")
    with pytest.raises(InvalidRequest) as refused:
        kinds.refuse_unfit(Kind("keeping"), "ALOUD")
    assert (refused.value.field, refused.value.reason) == ("input", "is all capitals")
    with pytest.raises(InvalidRequest) as refused:
        NO_OTHERS.refuse_unfit(Kind("keeping"), "quietly")
    assert refused.value.field == "kind"
    assert "'keeping' is not known here" in refused.value.reason


def test_figures_name_the_known_kinds_and_no_others() -> None:
    measures = Measures(Kinds([KEEPING]))
    for number in range(100):
        measures.note_end(of_kind(f"foreign_{number}"))
    for name in ("keeping", "chat"):
        measures.note_end(of_kind(name))
    assert measures.ended == {
        ("other", "queued", ""): 100,
        ("keeping", "queued", ""): 1,
        ("chat", "queued", ""): 1,
    }
