"""What must hold of any history, whatever was done to the system: the rules, and what breaks them.

Pure: a history is given, violations come back, each with what it takes to understand it.
"""

from collections.abc import Collection, Iterable, Sequence

from jobs.cursor import Cursor
from tests.chaos.cancellations import of_cancellations
from tests.chaos.losses import data_losses, of_losses, unexcused_end, unexcused_reset
from tests.chaos.reader import TERMINAL, Reader
from tests.chaos.records import Asked, Disturbance, Told, Truth, Violation
from tests.chaos.sdk_reader import SdkReader
from tests.relay.heard import Heard, assert_is_the_rest, text_of


def violations(
    asked: Asked,
    truth: Truth,
    disturbances: Sequence[Disturbance],
    *,
    workers: Collection[str],
    max_attempts: int,
) -> list[Violation]:
    """Every rule that the history of one generation breaks; `workers` are all ids there were."""
    told = [
        *_of_rows(asked, truth, disturbances, max_attempts),
        *_of_replays(asked, truth),
        *of_losses(truth, disturbances, workers),
        *of_cancellations(asked, truth, disturbances),
    ]
    for reader in asked.readers:
        told += _of_reader(asked, truth, reader, disturbances)
    for sdk_reader in asked.sdk_readers:
        told += _of_sdk_reader(asked, truth, sdk_reader, disturbances)
    return [Violation(rule, asked.id, detail) for rule, detail in told]


def _of_rows(
    asked: Asked, truth: Truth, disturbances: Sequence[Disturbance], max_attempts: int
) -> Told:
    resource = truth.resource
    if truth.state not in TERMINAL:
        yield "every accepted generation ends", f"it is {truth.state}: {resource}"
        return
    spoken = [turn for turn in truth.turns if turn[0] == "assistant"]
    if len(spoken) > 1:
        yield "at most one assistant turn a generation", f"there are {len(spoken)}: {spoken}"
    if [role for role, _, _ in truth.turns].count("user") > 1:
        yield "one user turn a generation", f"{truth.turns}"
    partial = truth.state != "completed"
    if any(is_partial != partial for _, _, is_partial in spoken):
        yield "a turn is partial unless its generation completed", f"{truth.state}: {spoken}"
    output = resource["output"]
    if (output or {}).get("text", "") != truth.text:
        yield "the resource's text is the turn's", f"{output!r} and {truth.text!r}"
    yield from _of_end(asked, truth, disturbances, max_attempts)


def _of_end(
    asked: Asked, truth: Truth, disturbances: Sequence[Disturbance], max_attempts: int
) -> Told:
    resource = truth.resource
    error = (resource["error"] or {}).get("code")
    if truth.state == "completed":
        if asked.fails_with:
            yield "an upstream's fault is never completed", f"{asked.model} completed"
        if not truth.turns or truth.turns[-1][0] != "assistant":
            yield "completed means that the row is there", f"turns: {truth.turns}"
        if asked.text is not None and truth.text != asked.text:
            yield "a completed answer is whole", _difference(truth.text, asked.text)
        usage = (resource.get("usage") or {}).get("output_tokens")
        if asked.tokens is not None and usage != asked.tokens:
            yield "usage is counted once", f"{usage} output tokens, not {asked.tokens}"
        version = (resource["output"] or {}).get("persona_version")
        if asked.makes_persona and version != 1:
            yield "a version is made once", f"the persona's first one is {version}"
    elif truth.state == "cancelled":
        if not asked.cancelled:
            yield "cancelled only if somebody asked", f"{truth.resource}"
    elif truth.state == "failed" and error in asked.fails_with:
        pass
    elif truth.state == "failed" and error == "worker_lost":
        if why := unexcused_end(asked, truth, disturbances, max_attempts):
            yield "worker_lost only after the last attempt", why
    elif not (
        truth.state == "failed"
        and str(error).startswith("model_")
        and _model_was_cut(asked, disturbances)
    ):
        yield "ends completed unless there is a reason", f"{asked.at:.2f} {asked.model}: {resource}"


def _of_replays(asked: Asked, truth: Truth) -> Told:
    for name, replay in (("the log", truth.from_log), ("SQL alone", truth.from_sql)):
        if text_of(replay) != truth.text:
            yield (
                f"a replay from {name} is the committed text",
                _difference(text_of(replay), truth.text),
            )
        yield from _of_order(f"a replay from {name}", replay, asked)
    if truth.state not in TERMINAL:
        return
    try:
        assert_is_the_rest(_kept(truth.from_sql), _kept(truth.from_log))
    except AssertionError as error:
        yield "SQL alone gives the same events as the log", str(error)[:2000]


def _of_reader(
    asked: Asked, truth: Truth, reader: Reader, disturbances: Sequence[Disturbance]
) -> Told:
    events = reader.numbered
    tale = reader.tale()
    if not reader.over:
        yield "every reader sees the end", tale
        return
    for rule, detail in _of_order(reader.name, events, asked):
        yield rule, f"{detail}\n{tale}"
    if reader.text != truth.text:
        yield "a reader's text is the committed text", _difference(reader.text, truth.text) + tale
    if reader.end is not None:
        end = reader.end.event.data["generation"]
        if end["state"] != truth.state or (end["output"] or {}).get("text") is not None:
            yield "the terminal event is the row's", f"{end} but {truth.resource}\n{tale}"
    last = _last_telling(events)
    try:
        assert_is_the_rest(_kept(last), _kept(_last_telling(truth.from_log)))
    except AssertionError as error:
        yield "a reader's events are the replay's", f"{str(error)[:1500]}\n{tale}"
    for seen in reader.resets:
        if why := unexcused_reset(reader, seen, truth, disturbances):
            yield "no reset where nothing was lost", f"{why}: {seen.event.raw!r}\n{tale}"


def _of_sdk_reader(
    asked: Asked, truth: Truth, reader: SdkReader, disturbances: Sequence[Disturbance]
) -> Told:
    tale = reader.tale()
    if reader.early_ends:
        yield "no stream of a response ends properly before its end", tale
    if not reader.over:
        yield "every reader sees the end", tale
        return
    status = {"cancelled": "cancelled", "completed": "completed"}.get(truth.state, "failed")
    if reader.final.status != status:
        yield "the terminal event is the row's", f"{truth.state}\n{tale}"
    numbers = [one.sequence_number for one in reader.events]
    if numbers != sorted(set(numbers)):
        yield "ids rise", f"{numbers}\n{tale}"
    if truth.resource["attempt"] > 1 and data_losses(disturbances, asked.at, truth.ended_at):
        # What was shown is gone with both, and the end is told even so.
        return
    if numbers != list(range(len(numbers))):
        yield "no gap and no duplicate in the text", f"{numbers}\n{tale}"
    if not reader.text == reader.final.output_text == truth.text:
        yield "a reader's text is the committed text", _difference(reader.text, truth.text) + tale
    if any(replay != reader.events for replay in truth.by_sdk):
        yield "a reader's events are the replay's", tale


def _of_order(who: str, events: Sequence[Heard], asked: Asked) -> Told:
    """Ids rise without a gap in the text; a newer attempt begins with its reset."""
    at: Cursor | None = None
    over = False
    for one in events:
        here = one.cursor
        if over:
            yield "nothing follows the end", f"{who}: {one}"
        over = one.event in TERMINAL
        if one.event == "reset" and here.seq == 0:
            at = here
            continue
        if at is None or here.attempt > at.attempt:
            started = at is not None
            at = Cursor(here.attempt, 0, 0)
            if here.seq != 1 and one.event != "token":
                yield "an attempt is told from its start", f"{who}: {one}"
            if started and here.attempt > 1 and one.event != "reset":
                yield "a newer attempt begins with a reset", f"{who}: {one}"
        if here <= at:
            yield "ids rise", f"{who}: {here} after {at}"
        if here.offset - len(one.text) != at.offset:
            yield "no gap and no duplicate in the text", f"{who}: {one} after {at}"
        at = here


def _model_was_cut(asked: Asked, disturbances: Iterable[Disturbance]) -> bool:
    """Whether it happened while this one may have been asking its model."""
    return any(
        one.cuts_model and one.ended >= asked.at and one.began <= asked.heard_end_at
        for one in disturbances
    )


def _last_telling(events: Sequence[Heard]) -> list[Heard]:
    """The events of the newest attempt since it was last told from its start."""
    if not events:
        return []
    newest = events[-1].cursor.attempt
    told: list[Heard] = []
    for one in events:
        if one.event == "reset" and one.cursor.seq == 0:
            told = []
        elif one.cursor.attempt == newest:
            told.append(one)
    return told


def _kept(events: Iterable[Heard]) -> list[Heard]:
    return [one for one in events if one.event != "file_delta"]


def _difference(got: str, wanted: str) -> str:
    common = next(
        (at for at, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b),
        min(len(got), len(wanted)),
    )
    start = max(0, common - 20)
    return (
        f"{len(got)} characters, not {len(wanted)}; they part at {common}:"
        f" …{got[start : common + 30]!r} and …{wanted[start : common + 30]!r}\n"
    )
