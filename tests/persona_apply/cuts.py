"""Strategies: text with surrogates and U+0000, JSON in any style, cuttings of a text."""

import json

from hypothesis import strategies as st

# Few letters and many oddities, so that pairs, halves of pairs and escapes meet often.
wild_text = st.text(
    st.one_of(
        st.sampled_from('ab"\\/\n\t é🎉\x00\ud83c\udf89{}[]:,'),
        st.characters(exclude_categories=()),
    ),
    max_size=40,
)


@st.composite
def json_string(draw: st.DrawFn, text: str) -> str:
    """The text as a JSON string, each character raw or escaped as chance has it."""
    parts: list[str] = []
    for character in text:
        plain = character not in '"\\' and character >= " "
        style = draw(st.sampled_from(["raw", "json", "hex"])) if plain else "json"
        if style == "raw" and not "\ud800" <= character <= "\udfff":
            parts.append(character)
        elif style == "hex":
            units = character.encode("utf-16-be", "surrogatepass")
            hexes = units.hex() if draw(st.booleans()) else units.hex().upper()
            parts += [f"\\u{hexes[at : at + 4]}" for at in range(0, len(hexes), 4)]
        else:
            parts.append(json.dumps(character)[1:-1])
    return '"' + "".join(parts) + '"'


@st.composite
def json_object(draw: st.DrawFn, pairs: dict[str, str]) -> str:
    """An object of string values, its keys in any order, white space anywhere."""
    space = st.text(st.sampled_from(" \t\r\n"), max_size=2)
    members = [
        f"{draw(space)}{draw(json_string(key))}{draw(space)}:"
        f"{draw(space)}{draw(json_string(pairs[key]))}{draw(space)}"
        for key in draw(st.permutations(list(pairs)))
    ]
    return f"{draw(space)}{{{','.join(members)}}}{draw(space)}"


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces, cut anywhere; some may be empty."""
    points = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *points], [*points, len(text)], strict=True)]


def as_units(text: str) -> str:
    """The text with every character beyond the BMP as two surrogates, as a cutting may leave it."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(chr(int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2))
