"""What an EventSource of any library says it was told, as events that can be compared."""

from collections.abc import Iterable, Sequence

from tests.relay.heard import Heard, heard

UNNUMBERED = ("heartbeat", "idle")

SAID = 'ChidÉ 🎉 says: "quotes", a tab\t, a line\n and 漢字. '
DICTATED = {
    "rounds": [
        {
            "text": "I'll write ChidÉ 🎉 first.",
            "calls": [
                {"name": "write_file", "arguments": {"path": "persona.md", "content": "# É 🎉\n"}},
                {"name": "write_file", "arguments": {"path": "../../etc/passwd", "content": "x"}},
                {"name": "use_skill", "arguments": {"name": "negotiation"}},
            ],
        },
        {"text": "And that is all: ChidÉ 🎉 and 漢字."},
    ]
}
"""Two rounds with a file, a notice and a skill."""


def told(events: Iterable[Sequence[str]]) -> list[Heard]:
    """These (id, name, data) as a reader of the bytes would have them, from the first claim on.

    Heartbeats are left out: an EventSource repeats the id before them.
    """
    raw = (
        f"event: {name}\ndata: {data}\nid: {ident}\n\n".encode()
        for ident, name, data in events
        if name not in UNNUMBERED
    )
    return [one for one in heard(raw) if one.cursor.attempt > 0]
