"""The course of an answer: what is written, after how many tokens, and how it ends."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.demo_model.answers import Answer, Arguments, CallStart, Delta, Text
from relay.demo_model.playback import Ending, Plan, Step, streamed, whole
from relay.demo_model.script import AFTER_TOKENS, Fault
from relay.demo_model.wire import Frames
from tests.demo_model.asking import Said, take

COUNTED: list[Delta] = [Text(f"t{n} ") for n in range(6)]
WITH_CALL: list[Delta] = [
    Text("a"),
    CallStart(0, "c", "write_file"),
    Arguments(0, '{"path"'),
    Arguments(0, ': "x"}'),
]
deltas = st.one_of(
    st.just(WITH_CALL),
    st.lists(st.text(min_size=1).map(Text), max_size=12),
)


def frames(*, include_usage: bool = False) -> Frames:
    return Frames("chatcmpl-1", 1, "demo", include_usage=include_usage, crlf=False)


def plan(
    answer: Sequence[Delta], fault: Fault | None, after: int, limit: int | None = None
) -> Plan:
    return Plan(Answer(answer, "stop"), fault, after, limit, prompt_tokens=3)


def run(steps: Sequence[Step | Ending]) -> tuple[bytes, int, Ending | None]:
    """All bytes, the tokens that they took, and the ending, which must be the last step."""
    written = [step for step in steps if isinstance(step, Step)]
    ending = steps[-1] if steps and isinstance(steps[-1], Ending) else None
    assert len(written) + (ending is not None) == len(steps)
    return b"".join(s.data for s in written), sum(s.tokens for s in written), ending


@given(deltas)
def test_without_a_fault_all_is_written_and_ends_well(answer: list[Delta]) -> None:
    body, spent, ending = run(list(streamed(plan(answer, None, 0), frames())))
    heard = take(Said(), body)
    assert (heard.finish, heard.done, ending) == ("stop", True, None)
    assert heard.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert spent == sum(not isinstance(delta, CallStart) for delta in answer)
    texts = [d.text for d in answer if isinstance(d, Text)]
    assert heard.text == "".join(texts)
    assert "".join(call["arguments"] for call in heard.calls) == "".join(
        delta.text for delta in answer if isinstance(delta, Arguments)
    )


@given(deltas, st.sampled_from(sorted(AFTER_TOKENS, key=str)), st.integers(0, 15))
def test_a_fault_comes_after_exactly_so_many_tokens_or_in_place_of_the_end(
    answer: list[Delta], fault: Fault, after: int
) -> None:
    steps = list(streamed(plan(answer, fault, after), frames()))
    before = list(streamed(plan(answer, None, 0), frames()))
    same = [step for step, other in zip(steps, before, strict=False) if step == other]
    tokens = sum(not isinstance(delta, CallStart) for delta in answer)
    assert sum(step.tokens for step in same if isinstance(step, Step)) >= min(after, tokens)
    body, _, ending = run(steps)
    assert (b"[DONE]" in body) is (fault is Fault.BAD_JSON)
    expected = {
        Fault.SILENT: Ending.SILENCE,
        Fault.COMMENTS: Ending.COMMENTS,
        Fault.BROKEN: Ending.DROP,
    }
    assert ending is expected.get(fault)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.COMMENTS, Fault.TRUNCATED])
def test_after_no_tokens_not_even_the_first_chunk_is_written(fault: Fault) -> None:
    for answer in (COUNTED, WITH_CALL[1:], []):
        assert run(list(streamed(plan(answer, fault, 0), frames())))[0] == b""


def test_a_broken_answer_stops_inside_a_frame() -> None:
    body, _, ending = run(list(streamed(plan(COUNTED, Fault.BROKEN, 2), frames())))
    assert ending is Ending.DROP
    last = body.split(b"\n\n")[-1]
    assert last.startswith(b"data: {")
    assert not last.endswith(b"}")


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_the_token_limit_of_the_request_ends_it_with_length(limit: int) -> None:
    body, spent, _ = run(list(streamed(plan(COUNTED, None, 0, limit), frames())))
    heard = take(Said(), body)
    assert (len(heard.tokens), spent, heard.finish) == (limit, limit, "length")
    said, _, _ = run(list(whole(plan(COUNTED, None, 0, limit), "id", 1, "demo")))
    assert b'"finish_reason":"length"' in said


def test_a_limit_that_is_just_enough_cuts_nothing() -> None:
    body, _, _ = run(list(streamed(plan(COUNTED, None, 0, len(COUNTED)), frames())))
    assert take(Said(), body).finish == "stop"
