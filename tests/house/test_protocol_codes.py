"""docs/protocol.md names every code that a client may meet."""

from pathlib import Path

from persona_apply import REFUSAL_CODES
from relay.problems import Code

PROTOCOL = Path(__file__).parents[2] / "docs/protocol.md"


def test_every_code_of_a_problem_or_a_notice_stands_in_the_protocol() -> None:
    codes = PROTOCOL.read_text().partition("## 9. Codes")[2].partition("\n## ")[0]
    wanted = {*REFUSAL_CODES, *(code.value for code in Code)}
    assert [code for code in sorted(wanted) if f"`{code}`" not in codes] == []
